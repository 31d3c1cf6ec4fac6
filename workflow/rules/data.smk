# From the data set to a table of molecules, a table of neighbours and a split.

EXTXYZ = dict(config["data"]["extxyz"])
# files of own data for a part of the split: {part: path}
PARTS = {part: EXTXYZ.pop(part) for part in ("validation", "test")}
PARTS = {part: path for part, path in PARTS.items() if path}
FILES = [source for source in config["data"]["sources"] if source not in SOURCES]
FILES += PARTS.values()


rule download:
    """Download the data set from the first source that provides it, and verify its checksum."""
    input:
        files=[given(path) for path in FILES],
    output:
        manifest="results/data/raw.json",
    log:
        "results/logs/download/qm9.log",
    benchmark:
        "results/benchmarks/download/qm9.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        sources=config["data"]["sources"],
        parts=list(PARTS),
        contents=contents(*FILES),
        code=code("download.py"),
    script:
        "../scripts/download.py"


rule convert_molecules:
    """Convert the data set to one table of molecules, in eV and Å."""
    input:
        manifest="results/data/raw.json",
    output:
        molecules="results/data/qm9.safetensors",
    log:
        "results/logs/convert_molecules/qm9.log",
    benchmark:
        "results/benchmarks/convert_molecules/qm9.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        extxyz=EXTXYZ if own_data(config) else {},
        code=code("convert_molecules.py"),
    script:
        "../scripts/convert_molecules.py"


rule find_neighbours:
    """Find the neighbours of every atom within the cutoff, in order of distance."""
    input:
        molecules="results/data/qm9.safetensors",
    output:
        neighbours="results/data/neighbours.safetensors",
    log:
        "results/logs/find_neighbours/qm9.log",
    benchmark:
        "results/benchmarks/find_neighbours/qm9.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        cutoff=config["data"]["cutoff"],
        code=code("find_neighbours.py"),
    script:
        "../scripts/find_neighbours.py"


rule split_molecules:
    """Draw the training, validation and test molecules."""
    input:
        molecules="results/data/qm9.safetensors",
        frames=[] if own_data(config) else shipped("resources/dft_frames.xyz"),
    output:
        split="results/data/split.csv",
    log:
        "results/logs/split_molecules/qm9.log",
    benchmark:
        "results/benchmarks/split_molecules/qm9.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        sizes=config["split"],
        code=code("split_molecules.py"),
    script:
        "../scripts/split_molecules.py"
