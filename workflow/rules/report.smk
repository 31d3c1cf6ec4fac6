# What the run itself cost.

# labels and frequencies are made for QM9 only
OF_QM9 = (
    []
    if own_data(config)
    else [
        *expand(rules.label_chunk.benchmark, chunk=range(LABELS["chunks"])),
        rules.fit_correction.benchmark,
        rules.merge_labels.benchmark,
        rules.relax_and_frequencies_gfn2.benchmark,
        *expand(rules.relax_and_frequencies.benchmark, model=ENERGY_MODELS),
    ]
)


rule cost_table:
    """Table of seconds and memory of every job, from the benchmark files."""
    input:
        rules.download.benchmark,
        rules.convert_molecules.benchmark,
        rules.find_neighbours.benchmark,
        rules.split_molecules.benchmark,
        OF_QM9,
        expand(rules.train.benchmark, model=sorted(set(config["models"]) - set(PRETRAINED))),
        expand(rules.predict.benchmark, model=config["models"]),
        rules.force_table.benchmark,
        expand("results/benchmarks/run_md/{run}.tsv", run=RUNS),
    output:
        table=report("results/tables/cost.csv", category="Cost"),
    log:
        "results/logs/cost_table/all.log",
    benchmark:
        "results/benchmarks/cost_table/all.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code("cost_table.py"),
    script:
        "../scripts/cost_table.py"
