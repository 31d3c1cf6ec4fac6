# Distorted geometries with energies and forces, in chunks that run independently.

from dataclasses import asdict

from nnpipe.labelling.settings import Settings

LABELS = config["labels"]
DISTORTIONS = {key: LABELS[key] for key in asdict(Settings())}
DFT = LABELS["method"] == "dft"  # several hundred times slower than GFN2-xTB
# a file that is imported for DFT labels alone
KOHN_SHAM = ["nnpipe/labelling/kohn_sham.py"] if DFT else []
FIT = LABELS["teacher"] == "fit"
# files of the teacher: parameters of tight binding, and a network if the folder has one
PARAMETERS, DELTA, DELTA_INFO = [], [], []
if LABELS["method"] == "teacher":
    FOLDER = "results/data/teacher" if FIT else given(LABELS["teacher"])
    PARAMETERS = f"{FOLDER}/tight_binding.toml"
    if FIT or os.path.isfile(f"{FOLDER}/model.safetensors"):
        DELTA, DELTA_INFO = f"{FOLDER}/model.safetensors", f"{FOLDER}/model.json"

# SMILES of molecules that QM9 lacks: their labels need a teacher with a network
FRAGMENTS = given(LABELS["fragments"]) if DELTA and LABELS["fragments"] else []

# whether labels are judged beside the models: a model of this run learns them; DFT takes hours
CHEAP_LABELS = not DFT and any(uses_labels(config, model) for model in TRAINED)

if FIT:

    rule fit_teacher:
        """Fit the parameters of GFN2-xTB to DFT frames and dimers, if labels.teacher is fit."""
        input:
            molecules="results/data/qm9.safetensors",
            frames=shipped("resources/dft_frames.xyz"),
        output:
            parameters="results/data/teacher/tight_binding.toml",
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

    rule fit_delta:
        """Train the network of the teacher on what DFT has beyond the fitted tight binding."""
        input:
            molecules="results/data/qm9.safetensors",
            split="results/data/split.csv",
            frames=shipped("resources/dft_frames.xyz"),
            parameters=rules.fit_teacher.output.parameters,
        output:
            delta="results/data/teacher/model.safetensors",
            info="results/data/teacher/model.json",
            metrics="results/data/teacher/metrics.jsonl",
        log:
            "results/logs/fit_delta/qm9.log",
        benchmark:
            "results/benchmarks/fit_delta/qm9.tsv"
        priority: 80
        conda:
            "../../envs/labels.yaml"
        threads: config["resources"]["threads"]
        resources:
            mem_mb=grows(4000),
            runtime=grows(120),
        params:
            work="results/data/teacher/work",
            code=code("fit_delta.py"),
        script:
            "../scripts/fit_delta.py"


rule label_chunk:
    """Distort a part of the training and validation molecules and label every geometry."""
    input:
        molecules="results/data/qm9.safetensors",
        split="results/data/split.csv",
        parameters=PARAMETERS,
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
        settings={key: LABELS[key] for key in (*DISTORTIONS, "method", "molecules", "chunks")},
        code=digest(SCRIPTS / "label_chunk.py", *KOHN_SHAM),
    script:
        "../scripts/label_chunk.py"


if FRAGMENTS:

    rule label_fragments:
        """Label distorted geometries of molecules that QM9 lacks, from their SMILES."""
        input:
            molecules="results/data/qm9.safetensors",
            split="results/data/split.csv",
            parameters=PARAMETERS,
            fragments=FRAGMENTS,
        output:
            fragments="results/data/fragments.safetensors",
        log:
            "results/logs/label_fragments/qm9.log",
        benchmark:
            "results/benchmarks/label_fragments/qm9.tsv"
        priority: 60
        conda:
            "../../envs/labels.yaml"
        resources:
            mem_mb=grows(1000),
            runtime=grows(60),
        params:
            settings=DISTORTIONS,
            contents=contents(LABELS["fragments"]),
            code=code("label_fragments.py"),
        script:
            "../scripts/label_fragments.py"


rule fit_correction:
    """Fit the correction of the labels to the DFT frequencies of training molecules."""
    input:
        molecules="results/data/qm9.safetensors",
        split="results/data/split.csv",
        parameters=PARAMETERS,
        delta=DELTA,
        delta_info=DELTA_INFO,
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
        delta=DELTA,
        delta_info=DELTA_INFO,
        chunks=expand(rules.label_chunk.output.chunk, chunk=range(LABELS["chunks"])),
        fragments="results/data/fragments.safetensors" if FRAGMENTS else [],
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
    threads: config["resources"]["threads"]
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        method=LABELS["method"],
        cutoff=config["data"]["cutoff"],
        code=code("merge_labels.py"),
    script:
        "../scripts/merge_labels.py"
