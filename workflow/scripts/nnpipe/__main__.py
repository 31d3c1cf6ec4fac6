"""The command `nnpipe`: `nnpipe export gnn --to torch`."""

import argparse
import logging
import sys
from collections.abc import Sequence

from . import __version__
from .errors import InputError
from .export.registry import ENGINES, export_model


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(prog="nnpipe", description="Neural network potentials")
    command.add_argument("--version", action="version", version=f"nnpipe {__version__}")
    commands = command.add_subparsers(dest="command", required=True, metavar="COMMAND")
    export = commands.add_parser("export", help="write a trained model for a simulation program")
    export.add_argument("model", help="folder of a model, or the name of a shipped one: gnn")
    names = "; ".join(f"{name}: {engine.title}" for name, engine in ENGINES.items())
    export.add_argument("--to", required=True, metavar="ENGINE", help=names)
    export.add_argument("--output", metavar="FOLDER", help="default: {model}_{engine}")
    return command


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. An InputError ends it with one line and exit status 1."""
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        for file in export_model(given.model, given.to, given.output):
            print(file)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
