"""The report of a study and its tables, made from the files in its folder."""

from pathlib import Path

from study.analysis.comparisons import differences_table
from study.analysis.estimates import confirm_table
from study.analysis.study_data import read_study_data
from study.records.study_folder import FIGURES, PAGE
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


def write_report(folder: Path) -> Path:
    """Make the page and its figures from the files in a study's folder; return the page's path.

    It reads study.json, ledger.jsonl and, if the study came so far, winner/. Figures go into
    figures/, as PNG and SVG; the page holds all of them and needs no other file.

    Raises `FileNotFoundError` if study.json or ledger.jsonl is not there.
    """

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

    confirmed = read_study_data(folder).confirmed
    makers = {"confirm.csv": confirm_table, "differences.csv": differences_table}
    for name, make in makers.items() if confirmed else ():
        replace_file(folder / name, make(confirmed).to_csv(index=False))
    return [folder / name for name in makers] if confirmed else []
