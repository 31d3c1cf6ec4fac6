# One rule trains any model; the other copies a model that was trained before.


rule copy_pretrained:
    """Copy a model that was trained before."""
    input:
        weights=pretrained_file("model.safetensors"),
        info=pretrained_file("model.json"),
        metrics=pretrained_file("metrics.jsonl"),
    output:
        weights="results/models/{model}/model.safetensors",
        info="results/models/{model}/model.json",
        metrics="results/models/{model}/metrics.jsonl",
    log:
        "results/logs/copy_pretrained/{model}.log",
    benchmark:
        "results/benchmarks/copy_pretrained/{model}.tsv"
    wildcard_constraints:
        model="|".join(PRETRAINED) or "(?!)",
    localrule: True
    conda:
        "../../envs/train.yaml"
    params:
        architecture=lambda wc: architecture_of(config, wc.model),
        target=lambda wc: config["models"][wc.model]["target"],
        hyperparameters=lambda wc: hyperparameters_of(config, wc.model),
        contents=lambda wc: contents(
            *expand(
                "{folder}/model.{kind}",
                folder=config["models"][wc.model]["pretrained"],
                kind=["safetensors", "json"],
            )
        ),
        code=lambda wc: code("copy_pretrained.py", wc.model),
    script:
        "../scripts/copy_pretrained.py"


rule train:
    """Train a model; a training that was killed resumes from its last checkpoint."""
    input:
        molecules="results/data/qm9.safetensors",
        neighbours="results/data/neighbours.safetensors",
        split="results/data/split.csv",
        labels=lambda wc: rules.merge_labels.output.labels if uses_labels(config, wc.model) else [],
        start=lambda wc: expand(
            "results/models/{start}/model.{kind}",
            start=config["models"][wc.model].get("init_from", []),
            kind=["safetensors", "json"],
        ),
    output:
        weights=ensure("results/models/{model}/model.safetensors", non_empty=True),
        info="results/models/{model}/model.json",
        metrics="results/models/{model}/metrics.jsonl",
    log:
        "results/logs/train/{model}.log",
    benchmark:
        "results/benchmarks/train/{model}.tsv"
    wildcard_constraints:
        model="|".join(TRAINED) or "(?!)",
    priority: 40  # a training uses all cores, each job that follows it only one
    conda:
        "../../envs/train.yaml"
    threads: config["resources"]["threads"]
    resources:
        **SPREAD,
        mem_mb=grows(4000 * PROCESSES // NODES),
        runtime=grows(720),
        gpu=GPU * PROCESSES,
    params:
        architecture=lambda wc: architecture_of(config, wc.model),
        target=lambda wc: config["models"][wc.model]["target"],
        hyperparameters=lambda wc: hyperparameters_of(config, wc.model),
        settings=lambda wc: training_of(config, wc.model),
        device=config["resources"]["device"],
        processes=PROCESSES,
        nodes=NODES,
        checkpoint=lambda wc, output: f"{Path(output.weights).parent}/checkpoint.safetensors",
        code=lambda wc: code("train.py", wc.model),
    script:
        "../scripts/train.py"
