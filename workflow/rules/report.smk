# The cost of the run itself.

# rule/job of the jobs in the table; labels and frequencies are made for QM9 only
COSTS = expand(
    "{rule}/qm9", rule=["download", "convert_molecules", "find_neighbours", "split_molecules"]
)
if not own_data(config):
    COSTS += expand("label_chunk/{chunk}", chunk=range(LABELS["chunks"]))
    COSTS += ["fit_correction/qm9", "merge_labels/qm9", "relax_and_frequencies_gfn2/qm9"]
    COSTS += expand("relax_and_frequencies/{model}", model=ENERGY_MODELS)
COSTS += expand("train/{model}", model=TRAINED)
COSTS += expand("predict/{model}", model=config["models"])
COSTS += ["force_table/all", *expand("run_md/{run}", run=RUNS)]


rule cost_table:
    """Write the table of the time and memory of every job, from the benchmark files."""
    input:
        expand("results/benchmarks/{job}.tsv", job=COSTS),
    output:
        table=report("results/tables/cost.csv", category="Cost"),
    log:
        "results/logs/cost_table/all.log",
    benchmark:
        "results/benchmarks/cost_table/all.tsv"
    localrule: True
    conda:
        "../../envs/train.yaml"
    params:
        code=code("cost_table.py"),
    script:
        "../scripts/cost_table.py"
