# Distorted geometries with energies and forces, in chunks that run independently.

LABELS = config["labels"]
DFT = LABELS["method"] == "dft"  # several hundred times slower than GFN2-xTB
# a file that is imported for DFT labels alone
KOHN_SHAM = ["nnpipe/labelling/kohn_sham.py"] if DFT else []
FIT = LABELS["teacher"] == "fit"
TEACHER = []  # the file with the parameters of the teacher
if LABELS["method"] == "teacher":
    TEACHER = "results/data/teacher.toml" if FIT else given(LABELS["teacher"])

# whether labels are judged beside the models: a model of this run learns them; DFT takes hours
CHEAP_LABELS = not DFT and any(uses_labels(config, model) for model in TRAINED)

if FIT:

    rule fit_teacher:
        """Fit the parameters of GFN2-xTB to DFT frames and dimers, if labels.teacher is fit."""
        input:
            molecules="results/data/qm9.safetensors",
            frames=shipped("resources/dft_frames.xyz"),
        output:
            teacher="results/data/teacher.toml",
        log:
            "results/logs/fit_teacher/qm9.log",
        benchmark:
            "results/benchmarks/fit_teacher/qm9.tsv"
        priority: 90
        conda:
            "../../envs/labels.yaml"
        threads: config["resources"]["threads"]
        resources:
            mem_mb=grows(4000),
            runtime=grows(120),
        params:
            code=code("fit_teacher.py"),
        script:
            "../scripts/fit_teacher.py"


rule label_chunk:
    """Distort a part of the training and validation molecules and label every geometry."""
    input:
        molecules="results/data/qm9.safetensors",
        split="results/data/split.csv",
        teacher=TEACHER,
    output:
        chunk="results/data/labels/{chunk}.safetensors",
    log:
        "results/logs/label_chunk/{chunk}.log",
    benchmark:
        "results/benchmarks/label_chunk/{chunk}.tsv"
    priority: 50
    conda:
        "../../envs/labels.yaml"
    resources:
        mem_mb=grows(4000 if DFT else 1000),
        runtime=grows(1440 if DFT else 30),
    params:
        settings={
            key: LABELS[key] for key in LABELS if key not in ("correction_molecules", "teacher")
        },
        code=digest(SCRIPTS / "label_chunk.py", *KOHN_SHAM),
    script:
        "../scripts/label_chunk.py"


rule fit_correction:
    """Fit the correction of the labels to the DFT frequencies of training molecules."""
    input:
        molecules="results/data/qm9.safetensors",
        split="results/data/split.csv",
        teacher=TEACHER,
    output:
        correction="results/data/correction.json",
    log:
        "results/logs/fit_correction/qm9.log",
    benchmark:
        "results/benchmarks/fit_correction/qm9.tsv"
    priority: 60
    conda:
        "../../envs/labels.yaml"
    resources:
        mem_mb=grows(4000 if DFT else 1000),
        runtime=grows(1440 if DFT else 60),
    params:
        method=LABELS["method"],
        molecules=LABELS["correction_molecules"],
        code=code("fit_correction.py"),
    script:
        "../scripts/fit_correction.py"


rule merge_labels:
    """Merge the labels of all chunks on QM9's potential energy surface and find neighbours."""
    input:
        molecules="results/data/qm9.safetensors",
        correction="results/data/correction.json",
        chunks=expand(rules.label_chunk.output.chunk, chunk=range(LABELS["chunks"])),
        tiny=shipped("resources/tiny_molecules.xyz"),
        frames=shipped("resources/dft_frames.xyz"),
    output:
        labels="results/data/labels.safetensors",
    log:
        "results/logs/merge_labels/qm9.log",
    benchmark:
        "results/benchmarks/merge_labels/qm9.tsv"
    priority: 50
    conda:
        "../../envs/labels.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        method=LABELS["method"],
        cutoff=config["data"]["cutoff"],
        code=code("merge_labels.py"),
    script:
        "../scripts/merge_labels.py"
