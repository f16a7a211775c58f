"""The report of a study: `python study/report.py NAME` makes `runs/NAME/report.html` again."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # Run as a script: other packages may be called `study`.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.config.command_line import Parser
from study.records.study_folder import CONFIRM, DIFFERENCES, FIGURES, PAGE, RECALL, find_study
from study.signals import run_command
from tl_core.errors import InputError, in_a_line
from tl_core.files import is_disk_full, user_path

_ABOUT = "Make a study's report.html and figures again from the files in its folder."
_EPILOG = (
    "exit codes: 0 done, 2 no such study, or a file that can't be read or written, "
    "4 no room for the output, 130 interrupted"
)
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError)
"""Errors of readers whose files were changed since the study wrote them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2, 4 or 130."""
    return run_command("the report can't be made", lambda: _report(_parser().parse_args(argv)))


def _report(given: Namespace) -> int:
    folder = find_study(given.study, given.out)
    # They import pandas and matplotlib.
    from study.analysis.study_data import read_study_data
    from study.reporting.build import write_report, write_tables

    try:
        data = read_study_data(folder)
        write_tables(data)
        print(write_report(data))
    except _UNREADABLE as error:
        if isinstance(error, OSError) and _was_writing(error):
            raise InputError([f"{error.filename or folder}: {error.strerror}"]) from error
        why = f"its files can't be read by this version of tl-study ({in_a_line(error)})"
        raise InputError([f"{folder}: {why}"]) from error
    return 0


def _was_writing(error: OSError) -> bool:
    """Whether a file of the report could not be written; it reads none of them."""
    path = Path(str(error.filename or ""))
    own = (PAGE, CONFIRM, DIFFERENCES, RECALL)
    # Each is written under another name first.
    ours = any(name in path.name for name in own) or FIGURES in (path.name, path.parent.name)
    return is_disk_full(error) or ours


def _parser() -> Parser:
    parser = Parser("study/report.py", _ABOUT, _EPILOG)
    parser.add_argument("study", metavar="NAME", help="a study's name, or its folder")
    parser.add_argument("--out", type=user_path, default="runs", help="where studies are (runs)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
