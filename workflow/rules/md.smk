# Molecular dynamics of the molecules in config.yaml.


rule starting_structure:
    """Write the starting structure of a molecule, or refuse what cannot be simulated."""
    input:
        # not a path with braces, which Snakemake would take as wildcards
        files=lambda wc: [
            local(s)
            for s in [structure_of(config, wc.molecule)]
            if os.path.isfile(s) and "{" not in s
        ],
        molecules=["results/data/qm9.safetensors"] if own_data(config) else [],
    output:
        structure="results/md/start/{molecule}.xyz",
    log:
        "results/logs/starting_structure/{molecule}.log",
    benchmark:
        "results/benchmarks/starting_structure/{molecule}.tsv"
    priority: 100
    conda:
        "../../envs/md.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        structure=lambda wc: structure_of(config, wc.molecule),
        timestep_fs=lambda wc: md_of(config, wc.molecule)["timestep_fs"],
        seed=lambda wc: md_of(config, wc.molecule)["seed"],
        velocities=lambda wc: [
            md_of(config, wc.molecule)[key] for key in ("velocities", "ensemble", "replicas")
        ],
        contents=lambda wc: contents(structure_of(config, wc.molecule)),
        code=code("starting_structure.py"),
    script:
        "../scripts/starting_structure.py"


rule run_md:
    """Relax a molecule with a model and run dynamics, until a bond breaks; a run that was killed or is made longer goes on."""
    input:
        weights="results/models/{model}/model.safetensors",
        info="results/models/{model}/model.json",
        structure="results/md/start/{molecule}.xyz",
    output:
        trajectory=ensure("results/md/{model}_{molecule}.xyz", non_empty=True),
        summary="results/md/{model}_{molecule}.json",
    log:
        "results/logs/run_md/{model}_{molecule}.log",
    benchmark:
        "results/benchmarks/run_md/{model}_{molecule}.tsv"
    wildcard_constraints:
        model=any_of(ENERGY_MODELS),
    conda:
        "../../envs/md.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(720),
        gpu=GPU,
    params:
        settings=lambda wc: md_of(config, wc.molecule),
        checkpoint=lambda wc, output: f"{Path(output.trajectory).parent}/checkpoints/{wc.model}_{wc.molecule}.safetensors",
        device=config["resources"]["device"],
        code=lambda wc: code("run_md.py", wc.model),
    script:
        "../scripts/run_md.py"


rule md_figures:
    """Plot a run, its spectrum, and the energy along a bond next to the energy of GFN2-xTB; write what the figures show."""
    input:
        weights="results/models/{model}/model.safetensors",
        info="results/models/{model}/model.json",
        trajectory="results/md/{model}_{molecule}.xyz",
        summary="results/md/{model}_{molecule}.json",
    output:
        run=report(
            "results/figures/md_{model}_{molecule}.png",
            caption="../report/md.rst",
            category="3 Trajectories",
            labels=labels("course of the run"),
        ),
        spectrum=report(
            "results/figures/spectrum_{model}_{molecule}.png",
            caption="../report/spectrum.rst",
            category="3 Trajectories",
            labels=labels("spectrum"),
        ),
        scan=report(
            "results/figures/scan_{model}_{molecule}.png",
            caption="../report/scan.rst",
            category="3 Trajectories",
            labels=labels("bond scan"),
        ),
        modes="results/modes/{model}_{molecule}.xyz",
        density="results/spectra/{model}_{molecule}.csv",
        geometries="results/scans/{model}_{molecule}.xyz",
    log:
        "results/logs/md_figures/{model}_{molecule}.log",
    benchmark:
        "results/benchmarks/md_figures/{model}_{molecule}.tsv"
    conda:
        "../../envs/md.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
        gpu=GPU,
    params:
        limit=lambda wc: md_of(config, wc.molecule)["max_bond_deviation_a"],
        device=config["resources"]["device"],
        code=lambda wc: code("md_figures.py", wc.model),
    script:
        "../scripts/md_figures.py"


rule md_table:
    """Write the table of all runs: stable time, energy drift, time per step."""
    input:
        summaries=expand("results/md/{run}.json", run=RUNS),
    output:
        table=report(
            "results/tables/md.csv",
            caption="../report/md_table.rst",
            category="3 Trajectories",
            labels={"content": "table: all runs", "molecule": "all", "model": "all"},
        ),
    log:
        "results/logs/md_table/all.log",
    benchmark:
        "results/benchmarks/md_table/all.tsv"
    localrule: True
    conda:
        "../../envs/md.yaml"
    params:
        code=code("md_table.py"),
    script:
        "../scripts/md_table.py"
