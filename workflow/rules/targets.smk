# Checks of what is asked for on the command line; after all rules, whose output it must be.
from snakemake.cli import get_argument_parser
from snakemake.io import strip_wildcard_constraints

from nnpipe.config.targets import check_command_line


def command_line():
    """Return the words after `snakemake`; none in a job, in a module or in a Python program.

    Snakemake itself passes its targets on when the rules have been read.
    """
    program = Path(sys.argv[0])
    called = program.name == "snakemake" or program.parts[-2:] == ("snakemake", "__main__.py")
    own = workflow.is_main_process and not workflow.modifier.skip_configfile
    return sys.argv[1:] if called and own else []


if words := command_line():
    try:
        check_command_line(
            config,
            words,
            get_argument_parser().parse_known_args(words)[0].targets,
            [strip_wildcard_constraints(file) for rule in workflow.rules for file in rule.output],
        )
    except InputError as error:
        raise WorkflowError(str(error)) from None
