# Predictions, tables and figures of accuracy.


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
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
        gpu=GPU,
    params:
        device=config["resources"]["device"],
        code=lambda wc: code("predict.py", wc.model),
    script:
        "../scripts/predict.py"


rule accuracy:
    """Table of errors of every model, and the same beside published figures."""
    input:
        predictions=expand("results/predictions/{model}.csv", model=config["models"]),
        infos=expand("results/models/{model}/model.json", model=config["models"]),
        published="resources/published.csv",
    output:
        table=report("results/tables/accuracy.csv", category="Accuracy"),
        readable="results/tables/accuracy.md",
    log:
        "results/logs/accuracy/all.log",
    benchmark:
        "results/benchmarks/accuracy/all.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=list(config["models"]),
        code=code("accuracy.py"),
    script:
        "../scripts/accuracy.py"


rule parity:
    """Figure of predictions against labels."""
    input:
        predictions="results/predictions/{model}.csv",
        info="results/models/{model}/model.json",
    output:
        figure=report(
            "results/figures/parity_{model}.png",
            caption="../report/parity.rst",
            category="Accuracy",
            labels={"figure": "parity", "model": "{model}"},
        ),
    log:
        "results/logs/parity/{model}.log",
    benchmark:
        "results/benchmarks/parity/{model}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code("parity.py"),
    script:
        "../scripts/parity.py"


rule comparison:
    """Figures of all models: learning curves, error by size, error by element."""
    input:
        predictions=expand("results/predictions/{model}.csv", model=config["models"]),
        infos=expand("results/models/{model}/model.json", model=config["models"]),
        metrics=expand("results/models/{model}/metrics.jsonl", model=config["models"]),
        molecules="results/data/qm9.safetensors",
    output:
        curves=report(
            "results/figures/learning_curves.png",
            caption="../report/learning_curves.rst",
            category="Accuracy",
            labels={"figure": "learning curves", "model": "all"},
        ),
        size=report(
            "results/figures/error_by_size.png",
            caption="../report/error_by_size.rst",
            category="Accuracy",
            labels={"figure": "error by size", "model": "all"},
        ),
        element=report(
            "results/figures/error_by_element.png",
            caption="../report/error_by_element.rst",
            category="Accuracy",
            labels={"figure": "error by element", "model": "all"},
        ),
    log:
        "results/logs/comparison/all.log",
    benchmark:
        "results/benchmarks/comparison/all.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(10),
    params:
        models=list(config["models"]),
        code=code("comparison.py"),
    script:
        "../scripts/comparison.py"


rule minima:
    """Relax held-out molecules and find their harmonic frequencies."""
    input:
        weights="results/models/{model}/model.safetensors",
        info="results/models/{model}/model.json",
        molecules="results/data/qm9.safetensors",
        split="results/data/split.csv",
    output:
        modes="results/minima/{model}.csv",
    log:
        "results/logs/minima/{model}.log",
    benchmark:
        "results/benchmarks/minima/{model}.tsv"
    conda:
        "../../envs/md.yaml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(120),
        gpu=GPU,
    params:
        molecules=config["evaluation"]["frequency_molecules"],
        device=config["resources"]["device"],
        code=lambda wc: code("minima.py", wc.model),
    script:
        "../scripts/minima.py"


rule minima_gfn2:
    """Relax the same molecules with GFN2-xTB and find their harmonic frequencies."""
    input:
        molecules="results/data/qm9.safetensors",
        split="results/data/split.csv",
    output:
        modes="results/minima/GFN2-xTB.csv",
    log:
        "results/logs/minima_gfn2/qm9.log",
    benchmark:
        "results/benchmarks/minima_gfn2/qm9.tsv"
    priority: 70  # the longest job before a training
    conda:
        "../../envs/labels.yaml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
    params:
        molecules=config["evaluation"]["frequency_molecules"],
        code=code("minima_gfn2.py"),
    script:
        "../scripts/minima_gfn2.py"


rule frequencies:
    """Table and figure of harmonic frequencies against QM9's own."""
    input:
        modes=expand("results/minima/{model}.csv", model=[*SURFACES, "GFN2-xTB"]),
    output:
        table=report("results/tables/frequencies.csv", category="Dynamics"),
        figure=report(
            "results/figures/frequencies.png",
            caption="../report/frequencies.rst",
            category="Dynamics",
            labels={"figure": "frequency parity", "model": "all"},
        ),
    log:
        "results/logs/frequencies/all.log",
    benchmark:
        "results/benchmarks/frequencies/all.tsv"
    conda:
        "../../envs/md.yaml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        models=[*SURFACES, "GFN2-xTB"],
        code=code("frequencies.py"),
    script:
        "../scripts/frequencies.py"


rule forces:
    """Table of force errors on geometries of the data set's own level of theory."""
    input:
        reference=(
            "results/data/qm9.safetensors"
            if own_data(config)
            else "resources/forces.xyz"
        ),
        split="results/data/split.csv",
        weights=expand("results/models/{model}/model.safetensors", model=SURFACES),
        infos=expand("results/models/{model}/model.json", model=SURFACES),
    output:
        table=report("results/tables/forces.csv", category="Dynamics"),
    log:
        "results/logs/forces/all.log",
    benchmark:
        "results/benchmarks/forces/all.tsv"
    conda:
        "../../envs/md.yaml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        models=SURFACES,
        own_data=own_data(config),
        device=config["resources"]["device"],
        code=code("forces.py", SURFACES),
    script:
        "../scripts/forces.py"
