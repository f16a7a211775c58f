"""The tables that a report leaves: confirm.csv, differences.csv and recall.csv."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

import pandas as pd

from study.analysis.estimates import Configuration, Confirmed, by_cell, score_names
from study.analysis.findings import Findings
from study.analysis.images.recall import recalls
from study.intervals.estimate import Estimate

INTERVAL_COLUMNS = ("low", "high", "seeds_low", "seeds_high")
"""Of a table: ends of the interval on new photos, then of the one on these test images."""


def confirm_table(findings: Findings) -> pd.DataFrame:
    """Return `confirm.csv`, one row for each cell.

    Columns: mode, train_ratio, lr, aux_weight, source, borrowed_from, trials (of the search), n
    (seeds), images (in the test set), groups (of these, if users named some), and five for each
    score that is there. SCORE_low and SCORE_high are the interval on new photos, empty if there is
    none; SCORE_seeds_low and SCORE_seeds_high are the one on these test images.
    """
    configuration = [field.name for field in fields(Configuration)]
    parts = ("mean", *INTERVAL_COLUMNS)
    rows = [
        {name: getattr(s, name) for name in configuration}
        | {"n": len(s.seeds), "images": s.scores["test_accuracy"].images}
        | ({"groups": e.groups} if (e := s.scores["test_accuracy"]).groups else {})
        | {
            f"{name}_{part}": value
            for name, e in s.scores.items()
            for part, value in zip(parts, (e.mean, *interval_columns(e)), strict=True)
        }
        for s in findings.cells
    ]
    there = {column for row in rows for column in row}
    scores = [f"{name}_{part}" for name in score_names(findings.confirmed) for part in parts]
    counts = ["n", "images", *(["groups"] if "groups" in there else [])]
    known = [*configuration, *counts, *(name for name in scores if not rows or name in there)]
    return pd.DataFrame(rows, columns=known)


def interval_columns(e: Estimate) -> tuple[float | None, ...]:
    """Return the ends of both intervals, in the order of `INTERVAL_COLUMNS`; None for a missing."""
    new = (None, None) if e.images is None else (e.low, e.high)
    return (*new, e.seeds_low, e.seeds_high)


def differences_table(findings: Findings) -> pd.DataFrame:
    """Return `differences.csv`: a row for each pair of modes, ratio and score.

    Columns: train_ratio, a, b, score, n (seeds), images, mean, low and high (on new photos, empty
    if there is no such interval), seeds_low and seeds_high (on these test images), half_width (the
    smallest difference that could have been shown), p, p_holm, verdict (on a compared with b, by
    p_holm).
    """
    rows = [
        (
            *(d.a.train_ratio, d.a.mode, d.b.mode, d.score, e.n, e.images, e.mean),
            *(*interval_columns(e), e.half_width, e.p, d.p_holm, d.verdict),
        )
        for score in score_names(findings.confirmed)
        # Each cell's own aux_weight is in `test_loss`, and a baseline is a constant.
        if score != "test_loss" and not score.endswith("_baseline")
        for d in findings.differences(score)
        for e in (d.estimate,)
    ]
    about = ("train_ratio", "a", "b", "score", "n", "images", "mean")
    names = (*about, *INTERVAL_COLUMNS, "half_width", "p", "p_holm", "verdict")
    return pd.DataFrame(rows, columns=names)


def recall_table(confirmed: Iterable[Confirmed], classes: Sequence[str]) -> pd.DataFrame:
    """Return `recall.csv`: a row for each cell and class.

    Columns: mode, train_ratio, class, n (seeds), images (of the class in the test set), recall
    (mean over the seeds), low and high (Wilson's interval). Cells without outputs have no row.
    """
    rows = [
        (cell.mode, cell.train_ratio, r.name, len(trials), r.images, r.mean, r.low, r.high)
        for cell, trials in by_cell(confirmed).items()
        for r in recalls(list(trials.values()), classes)
    ]
    names = ("mode", "train_ratio", "class", "n", "images", "recall", "low", "high")
    return pd.DataFrame(rows, columns=names)
