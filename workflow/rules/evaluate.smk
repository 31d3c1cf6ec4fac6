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
    threads: config["resources"]["threads"]
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=1,
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
        published="workflow/report/published.csv",
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
        mem_mb=1000,
        runtime=10,
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
        mem_mb=1000,
        runtime=10,
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
        mem_mb=2000,
        runtime=10,
    params:
        models=list(config["models"]),
        code=code("comparison.py"),
    script:
        "../scripts/comparison.py"
