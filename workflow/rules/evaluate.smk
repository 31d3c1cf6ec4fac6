# Predictions, tables and figures of accuracy.

# models whose validation molecules were held out: another split may belong to a pretrained one
HELD_OUT_MODELS = [model for model in ENERGY_MODELS if model in TRAINED]


rule predict:
    """Predict the target of every molecule of the split."""
    input:
        weights="results/models/{model}/model.safetensors",
        info="results/models/{model}/model.json",
        molecules="results/data/qm9.safetensors",
        neighbours="results/data/neighbours.safetensors",
        split="results/data/split.csv",
    output:
        predictions="results/predictions/{model}.csv",
    log:
        "results/logs/predict/{model}.log",
    benchmark:
        "results/benchmarks/predict/{model}.tsv"
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
        gpu=GPU,
    params:
        device=config["resources"]["device"],
        code=lambda wc: code("predict.py", wc.model),
    script:
        "../scripts/predict.py"


rule accuracy_table:
    """Write the table of errors of every model, and a table that adds published errors."""
    input:
        predictions=expand("results/predictions/{model}.csv", model=config["models"]),
        infos=expand("results/models/{model}/model.json", model=config["models"]),
        published=shipped("resources/published.csv"),
    output:
        table=report(
            "results/tables/accuracy.csv",
            caption="../report/accuracy_table.rst",
            category="1 Energies",
            labels={"content": "table: errors", "model": "all"},
        ),
        readable="results/tables/accuracy.md",
    log:
        "results/logs/accuracy_table/all.log",
    benchmark:
        "results/benchmarks/accuracy_table/all.tsv"
    localrule: True
    conda:
        "../../envs/train.yaml"
    params:
        models=list(config["models"]),
        code=code("accuracy_table.py"),
    script:
        "../scripts/accuracy_table.py"


rule parity_figure:
    """Plot predictions against labels."""
    input:
        predictions="results/predictions/{model}.csv",
        info="results/models/{model}/model.json",
    output:
        figure=report(
            "results/figures/parity_{model}.png",
            caption="../report/parity.rst",
            category="1 Energies",
            labels=labels("parity"),
        ),
    log:
        "results/logs/parity_figure/{model}.log",
    benchmark:
        "results/benchmarks/parity_figure/{model}.tsv"
    localrule: True
    conda:
        "../../envs/train.yaml"
    params:
        code=code("parity_figure.py"),
    script:
        "../scripts/parity_figure.py"


rule comparison_figures:
    """Plot all models together: learning curves, error by molecule size, error by element."""
    input:
        predictions=expand("results/predictions/{model}.csv", model=config["models"]),
        infos=expand("results/models/{model}/model.json", model=config["models"]),
        metrics=expand("results/models/{model}/metrics.jsonl", model=config["models"]),
        molecules="results/data/qm9.safetensors",
    output:
        curves=report(
            "results/figures/learning_curves.png",
            caption="../report/learning_curves.rst",
            category="1 Energies",
            labels={"content": "learning curves", "model": "all"},
        ),
        size=report(
            "results/figures/error_by_size.png",
            caption="../report/error_by_size.rst",
            category="1 Energies",
            labels={"content": "error by size", "model": "all"},
        ),
        element=report(
            "results/figures/error_by_element.png",
            caption="../report/error_by_element.rst",
            category="1 Energies",
            labels={"content": "error by element", "model": "all"},
        ),
    log:
        "results/logs/comparison_figures/all.log",
    benchmark:
        "results/benchmarks/comparison_figures/all.tsv"
    localrule: True
    conda:
        "../../envs/train.yaml"
    params:
        models=list(config["models"]),
        code=code("comparison_figures.py"),
    script:
        "../scripts/comparison_figures.py"


rule relax_and_frequencies:
    """Relax test molecules with a model and compute their harmonic frequencies."""
    input:
        weights="results/models/{model}/model.safetensors",
        info="results/models/{model}/model.json",
        molecules="results/data/qm9.safetensors",
        split="results/data/split.csv",
    output:
        modes="results/minima/{model}.csv",
    log:
        "results/logs/relax_and_frequencies/{model}.log",
    benchmark:
        "results/benchmarks/relax_and_frequencies/{model}.tsv"
    conda:
        "../../envs/md.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(120),
        gpu=GPU,
    params:
        molecules=config["evaluation"]["frequency_molecules"],
        device=config["resources"]["device"],
        code=lambda wc: code("relax_and_frequencies.py", wc.model),
    script:
        "../scripts/relax_and_frequencies.py"


rule relax_and_frequencies_gfn2:
    """Relax the same molecules with GFN2-xTB and compute their harmonic frequencies."""
    input:
        molecules="results/data/qm9.safetensors",
        split="results/data/split.csv",
    output:
        modes="results/minima/GFN2-xTB.csv",
    log:
        "results/logs/relax_and_frequencies_gfn2/qm9.log",
    benchmark:
        "results/benchmarks/relax_and_frequencies_gfn2/qm9.tsv"
    priority: 70  # the longest job before the trainings
    conda:
        "../../envs/labels.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
    params:
        molecules=config["evaluation"]["frequency_molecules"],
        code=code("relax_and_frequencies_gfn2.py"),
    script:
        "../scripts/relax_and_frequencies_gfn2.py"


rule frequency_table:
    """Write the table of harmonic frequencies against the frequencies of QM9, and plot them."""
    input:
        modes=expand("results/minima/{model}.csv", model=[*ENERGY_MODELS, "GFN2-xTB"]),
    output:
        table=report(
            "results/tables/frequencies.csv",
            caption="../report/frequencies_table.rst",
            category="2 Forces, frequencies, uncertainties",
            labels={"content": "table: frequencies", "model": "all"},
        ),
        figure=report(
            "results/figures/frequencies.png",
            caption="../report/frequencies.rst",
            category="2 Forces, frequencies, uncertainties",
            labels={"content": "frequencies", "model": "all"},
        ),
    log:
        "results/logs/frequency_table/all.log",
    benchmark:
        "results/benchmarks/frequency_table/all.tsv"
    localrule: True
    conda:
        "../../envs/md.yaml"
    params:
        models=[*ENERGY_MODELS, "GFN2-xTB"],
        code=code("frequency_table.py"),
    script:
        "../scripts/frequency_table.py"


rule uncertainty_table:
    """Write the table of expected against observed errors on held-out molecules, and plot it."""
    input:
        molecules="results/data/qm9.safetensors",
        neighbours="results/data/neighbours.safetensors",
        split="results/data/split.csv",
        labels=[] if own_data(config) else rules.merge_labels.output.labels,
        weights=expand("results/models/{model}/model.safetensors", model=HELD_OUT_MODELS),
        infos=expand("results/models/{model}/model.json", model=HELD_OUT_MODELS),
    output:
        table=report(
            "results/tables/uncertainty.csv",
            caption="../report/uncertainty_table.rst",
            category="2 Forces, frequencies, uncertainties",
            labels={"content": "table: uncertainties", "model": "all"},
        ),
        figure=report(
            "results/figures/uncertainty.png",
            caption="../report/uncertainty.rst",
            category="2 Forces, frequencies, uncertainties",
            labels={"content": "uncertainties", "model": "all"},
        ),
    log:
        "results/logs/uncertainty_table/all.log",
    benchmark:
        "results/benchmarks/uncertainty_table/all.tsv"
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        models=HELD_OUT_MODELS,
        code=code("uncertainty_table.py", HELD_OUT_MODELS),
    script:
        "../scripts/uncertainty_table.py"


rule force_table:
    """Write the table of force errors against the level of theory of the data set."""
    input:
        reference=(
            "results/data/qm9.safetensors" if own_data(config) else shipped("resources/forces.xyz")
        ),
        split="results/data/split.csv",
        weights=expand("results/models/{model}/model.safetensors", model=ENERGY_MODELS),
        infos=expand("results/models/{model}/model.json", model=ENERGY_MODELS),
        molecules="results/data/qm9.safetensors" if CHEAP_LABELS else [],
        correction="results/data/correction.json" if CHEAP_LABELS else [],
        parameters=PARAMETERS if CHEAP_LABELS else [],
        delta=DELTA if CHEAP_LABELS else [],
        delta_info=DELTA_INFO if CHEAP_LABELS else [],
    output:
        table=report(
            "results/tables/forces.csv",
            caption="../report/forces_table.rst",
            category="2 Forces, frequencies, uncertainties",
            labels={"content": "table: forces", "model": "all"},
        ),
    log:
        "results/logs/force_table/all.log",
    benchmark:
        "results/benchmarks/force_table/all.tsv"
    conda:
        "../../envs/md.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        models=ENERGY_MODELS,
        own_data=own_data(config),
        labels=LABELS["method"] if CHEAP_LABELS else "",
        device=config["resources"]["device"],
        code=code("force_table.py", ENERGY_MODELS),
    script:
        "../scripts/force_table.py"


rule profile_table:
    """Write the table of errors along torsions, puckers, inversions, stretches and conformers."""
    input:
        reference=shipped("resources/profiles.xyz"),
        parameters=PARAMETERS,
        delta=DELTA,
        delta_info=DELTA_INFO,
        weights=expand("results/models/{model}/model.safetensors", model=ENERGY_MODELS),
        infos=expand("results/models/{model}/model.json", model=ENERGY_MODELS),
    output:
        table=report(
            "results/tables/profiles.csv",
            caption="../report/profiles_table.rst",
            category="2 Forces, frequencies, uncertainties",
            labels={"content": "table: profiles", "model": "all"},
        ),
        figure=report(
            "results/figures/profiles.png",
            caption="../report/profiles.rst",
            category="2 Forces, frequencies, uncertainties",
            labels={"content": "profiles", "model": "all"},
        ),
    log:
        "results/logs/profile_table/all.log",
    benchmark:
        "results/benchmarks/profile_table/all.tsv"
    conda:
        "../../envs/md.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        models=ENERGY_MODELS,
        device=config["resources"]["device"],
        code=code("profile_table.py", ENERGY_MODELS),
    script:
        "../scripts/profile_table.py"
