# From QM9 to molecular dynamics. `snakemake --list-rules` describes each rule.
from snakemake.utils import min_version

min_version("9.20")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/labels.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/md.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"


rule all:
    default_target: True
    input:
        rules.accuracy_table.output,
        rules.comparison_figures.output,
        [] if own_data(config) else rules.frequency_table.output,
        rules.force_table.output,
        [] if own_data(config) else rules.profile_table.output,
        rules.uncertainty_table.output if HELD_OUT_MODELS else [],
        rules.md_table.output,
        rules.cost_table.output,
        rules.report_page.output,
        expand("results/figures/parity_{model}.png", model=config["models"]),
        expand("results/figures/{figure}_{run}.png", figure=["md", "spectrum", "scan"], run=RUNS),
