"""Runs a problem of benchmarks/problems and writes benchmarks/results/KIND/NAME.json, where KIND is
the kind of this processor.

python -m benchmarks.run PROBLEM --help lists the options of a problem."""

import argparse
import pkgutil
import tempfile
from importlib import import_module

from benchmarks import harness, problems


def command_line():
    """The parser of the command line: a subcommand for each problem."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    commands = parser.add_subparsers(metavar="PROBLEM", required=True)
    for found in pkgutil.iter_modules(problems.__path__):
        problem = import_module(f"benchmarks.problems.{found.name}")
        command = commands.add_parser(
            found.name,
            help=problem.__doc__.partition("\n")[0],
            description=problem.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        problem.add_arguments(command)
        command.add_argument("--name", help="name of the result file")
        defaults = vars(command.parse_args([]))
        command.set_defaults(problem=problem, defaults=defaults)
    return parser


def main():
    a = command_line().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print("written:", harness.run(a.problem, a, scratch))


if __name__ == "__main__":
    main()
