"""The report of a study: `python study/report.py NAME` makes `runs/NAME/report.html` again."""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # Run as a script: other packages may be called `study`.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.config.command_line import Parser
from study.records.study_folder import find_study
from tl_core.files import user_path

_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError)
"""Errors of readers whose files were changed since the study wrote them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Make a study's report again; return the exit code: 0, or 2 if that is impossible."""
    parser = Parser(
        "study/report.py",
        "Make a study's report.html and figures again from the files in its folder.",
    )
    parser.add_argument("study", metavar="NAME", help="a study's name, or its folder")
    parser.add_argument("--out", type=user_path, default="runs", help="where studies are (runs)")
    given = parser.parse_args(argv)
    from study.analysis.study_data import read_study_data
    from study.reporting.build import write_report, write_tables  # It imports matplotlib.

    try:
        folder = find_study(given.study, given.out)
        data = read_study_data(folder)
        write_tables(data)
        print(write_report(data))
    except FileNotFoundError as error:
        print(f"error: {error.args[0] if error.errno is None else error}", file=sys.stderr)
        return 2
    except _UNREADABLE as error:
        reason = f"{type(error).__name__}: {(str(error).strip() or '?').splitlines()[0]}"
        why = f"its files can't be read by this version of tl-study ({reason})"
        print(f"error: {folder}: {why}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
