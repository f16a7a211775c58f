"""The report of a study: `python study/report.py NAME` makes `runs/NAME/report.html` again."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.records.study_folder import find_study

_SPOILT = (OSError, ValueError, LookupError, TypeError, AttributeError)
"""What files that are not as a study left them make their readers raise."""


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild a study's report; return the exit code: 0, or 2 if there is none to be made."""
    given = _parser().parse_args(argv)
    from study.reporting.build import write_report, write_tables  # It imports matplotlib.

    try:
        folder = find_study(given.study, given.out)
        write_tables(folder)
        print(write_report(folder))
    except FileNotFoundError as error:
        return _tell(error.args[0] if error.errno is None else error)
    except _SPOILT as error:
        reason = (str(error).strip() or "?").splitlines()[0]
        why = "its files can't be read by this version of tl-study"
        return _tell(f"{folder}: {why} ({type(error).__name__}: {reason})")
    return 0


def _tell(fault: object) -> int:
    print(f"error: {fault}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "study/report.py",
        description="Make a study's report.html and figures again from the files in its folder.",
        allow_abbrev=False,
    )
    parser.add_argument("study", metavar="NAME", help="a study's name, or its folder")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where studies are (runs)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
