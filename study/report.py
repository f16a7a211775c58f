"""The report of a study: `python study/report.py NAME` makes `runs/NAME/report.html` again."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

PAGE, FIGURES = "report.html", "figures"
_SPOILT = (OSError, ValueError, LookupError, TypeError, AttributeError)
"""What files that are not as a study left them make their readers raise."""


def write_report(folder: Path) -> Path:
    """Make the page and its figures from the files in a study's folder; return the page's path.

    It reads study.json, ledger.jsonl and, if the study came so far, winner/. Figures go into
    figures/, as PNG and SVG; the page holds all of them and needs no other file.

    Raises `FileNotFoundError` if study.json or ledger.jsonl is not there.
    """
    from study.analysis.study_data import read_study_data
    from study.reporting.factor_section import (
        aux_weight_section,
        importance_section,
        learning_rate_section,
    )
    from study.reporting.header import answer_of, notes_on, subtitle
    from study.reporting.label_section import label_section
    from study.reporting.page import Painter, render
    from study.reporting.trial_section import reproduce_section, trial_section
    from study.reporting.winner_section import winner_section
    from tl_core.files import replace_file

    findings = read_study_data(folder)
    painter = Painter(folder / FIGURES)
    makers = (label_section, learning_rate_section, aux_weight_section, winner_section,
              importance_section)  # fmt: skip
    sections = [make(findings, painter) for make in makers]
    sections += [trial_section(findings), reproduce_section(findings)]
    title = f"{findings.settings.name}: {findings.subject}"
    page = render(title, subtitle(findings), answer_of(findings), notes_on(findings), sections)
    replace_file(folder / PAGE, page)
    return folder / PAGE


def write_tables(folder: Path) -> list[Path]:
    """Make confirm.csv, a row a cell, and differences.csv, a row a pair of modes; return both.

    A study without confirming trials has none.
    """
    from study.analysis.comparisons import differences_table
    from study.analysis.estimates import confirm_table
    from study.analysis.study_data import read_study_data
    from tl_core.files import replace_file

    confirmed = read_study_data(folder).confirmed
    makers = {"confirm.csv": confirm_table, "differences.csv": differences_table}
    for name, make in makers.items() if confirmed else ():
        replace_file(folder / name, make(confirmed).to_csv(index=False))
    return [folder / name for name in makers] if confirmed else []


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild a study's report; return the exit code: 0, or 2 if there is none to be made."""
    given = _parser().parse_args(argv)
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


def find_study(study: str, out: Path) -> Path:
    """Return the folder of a study, given its name or its path.

    Raises `FileNotFoundError`, listing the studies that there are.
    """
    for folder in (out / study, Path(study)):
        if (folder / "study.json").is_file():
            return folder
    there = sorted(path.parent.name for path in out.glob("*/study.json"))
    known = f"there are: {', '.join(there)}" if there else "there is none; --out names its folder"
    raise FileNotFoundError(f"no study {study} in {out}/; {known}")


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
