# What the run itself cost.

# labels and frequencies are made for QM9 only
OF_QM9 = (
    []
    if own_data(config)
    else [
        *expand(rules.label_chunk.benchmark, chunk=range(LABELS["chunks"])),
        rules.correction.benchmark,
        rules.labels.benchmark,
        rules.minima_gfn2.benchmark,
        *expand(rules.minima.benchmark, model=SURFACES),
    ]
)


rule cost:
    """Table of seconds and memory of every job, from the benchmark files."""
    input:
        rules.download.benchmark,
        rules.molecules.benchmark,
        rules.neighbours.benchmark,
        rules.split.benchmark,
        OF_QM9,
        expand(rules.train.benchmark, model=sorted(set(config["models"]) - set(PRETRAINED))),
        expand(rules.predict.benchmark, model=config["models"]),
        rules.forces.benchmark,
        expand("results/benchmarks/md/{run}.tsv", run=RUNS),
    output:
        table=report("results/tables/cost.csv", category="Cost"),
    log:
        "results/logs/cost/all.log",
    benchmark:
        "results/benchmarks/cost/all.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code("cost.py"),
    script:
        "../scripts/cost.py"
