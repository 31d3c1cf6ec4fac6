# The cost of the run itself, and the page that shows the whole run.

# rule/job of the jobs in the table; labels and frequencies are made for QM9 only
COSTS = expand(
    "{rule}/qm9", rule=["download", "convert_molecules", "find_neighbours", "split_molecules"]
)
if not own_data(config):
    COSTS += expand("label_chunk/{chunk}", chunk=range(LABELS["chunks"]))
    COSTS += ["fit_teacher/qm9", "fit_delta/qm9"] if FIT and PARAMETERS else []
    COSTS += ["label_fragments/qm9"] if FRAGMENTS else []
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
        table=report(
            "results/tables/cost.csv",
            caption="../report/cost_table.rst",
            category="4 Cost",
            labels={"content": "table: time and memory of all jobs"},
        ),
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


# The page shows the whole run; if pretrained models make all its trajectories, it shows these
# models and trajectories alone, which need no data set.
WHOLE = not all(
    model in PRETRAINED for name in config["molecules"] for model in models_of(config, name)
)
REPORTED = list(config["models"]) if WHOLE else [m for m in ENERGY_MODELS if m in PRETRAINED]
FREQUENCIES = WHOLE and not own_data(config)
# what the page consists of besides results
PARTS_OF_PAGE = [
    str(path)
    for folder in ("report", "viewer")
    for path in sorted((SCRIPTS / "nnpipe" / folder).rglob("*"))
    if path.suffix in (".css", ".jinja", ".js")
]


rule report_page:
    """Write the page that shows the run: models, verdicts, moving molecules, errors, provenance."""
    input:
        infos=expand("results/models/{model}/model.json", model=REPORTED),
        metrics=expand("results/models/{model}/metrics.jsonl", model=REPORTED),
        trajectories=expand("results/md/{run}.xyz", run=RUNS),
        summaries=expand("results/md/{run}.json", run=RUNS),
        modes=expand("results/modes/{run}.xyz", run=RUNS),
        spectra=expand("results/spectra/{run}.csv", run=RUNS),
        scans=expand("results/scans/{run}.xyz", run=RUNS),
        md=[rules.md_table.output.table],
        predictions=expand("results/predictions/{model}.csv", model=REPORTED) if WHOLE else [],
        molecules=["results/data/qm9.safetensors"] if WHOLE else [],
        accuracy=[rules.accuracy_table.output.table] if WHOLE else [],
        published=[shipped("resources/published.csv")] if FREQUENCIES else [],
        forces=[rules.force_table.output.table] if WHOLE else [],
        profiles=[rules.profile_table.output.table] if FREQUENCIES else [],
        uncertainty=[rules.uncertainty_table.output.table] if WHOLE and HELD_OUT_MODELS else [],
        frequencies=[rules.frequency_table.output.table] if FREQUENCIES else [],
        minima=(
            expand("results/minima/{model}.csv", model=[*ENERGY_MODELS, "GFN2-xTB"])
            if FREQUENCIES
            else []
        ),
        cost=[rules.cost_table.output.table] if WHOLE else [],
    output:
        page="results/report.html",
    log:
        "results/logs/report_page/all.log",
    benchmark:
        "results/benchmarks/report_page/all.tsv"
    conda:
        "../../envs/md.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(30),
    params:
        config={key: config[key] for key in config if key not in OWN},
        structures={name: structure_of(config, name) for name in config["molecules"]},
        limits={name: md_of(config, name)["max_bond_deviation_a"] for name in config["molecules"]},
        own_data=own_data(config),
        delta=bool(DELTA),
        page=contents(*PARTS_OF_PAGE),
        code=code("report_page.py"),
    script:
        "../scripts/report_page.py"
