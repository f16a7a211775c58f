"""What a point of a figure stands for, in a few lines."""

from collections.abc import Callable
from functools import partial

from study.analysis.estimates import CellSummary
from study.analysis.extrapolation import Extrapolation
from study.answers.phrases import seeds, show_number, show_rate, show_weight
from study.records.trial_record import TrialRecord

Labels = Callable[[float], float]
"""How many images train at a train_ratio: with whole groups, not just this share."""


def cell_text(cell: CellSummary, score: str, labels: Labels) -> str:
    """Return the lines on a cell's mean score."""
    e, n, shown = cell.scores[score], seeds(len(cell.seeds)), partial(show_number, style=".3f")
    within = "" if e.low is None or e.high is None else f" ({shown(e.low)} to {shown(e.high)})"
    rate = [] if cell.lr is None else [f"lr {cell.lr:.2g}"]
    source = f"from trial {cell.source}"
    if cell.borrowed_from is not None:
        source += f" at {cell.borrowed_from:g}"
    return "\n".join(
        (
            f"{cell.mode} at train_ratio {cell.train_ratio:g}, {labels(cell.train_ratio):.0f} "
            "images",
            f"{score} {shown(e.mean)}{within}, {n}",
            ", ".join([*rate, f"aux_weight {show_weight(cell.aux_weight, '.3g')}", source]),
        )
    )


def expected_text(found: Extrapolation, times: int, labels: Labels) -> str:
    """Return the lines on the score that is expected at so many times a mode's labels."""
    e, n = found.levels[times], times * labels(found.train_ratio)
    return (
        f"{found.mode} with {times} x the labels, {n:.0f} images\n"
        f"expected {found.score} {e.mean:.3f} ({e.low:.3f} to {e.high:.3f})"
    )


def trial_text(record: TrialRecord, metric: str, labels: Labels) -> str:
    """Return the lines on a trial and its score, if it has one."""
    c, value = record.config, record.value(metric)
    status = {"pruned": ", stopped early", "failed": ", failed"}.get(record.status, "")
    factors = [show_rate(record, ".2g"), f"aux_weight {show_weight(c.aux_weight, '.3g')}"]
    lines = [
        f"trial {record.trial}{status}",
        f"{c.mode} at train_ratio {c.train_ratio:g}, {labels(c.train_ratio):.0f} images",
        ", ".join(filter(None, factors)),
    ]
    return "\n".join(lines + ([] if value is None else [f"{metric} {show_number(value)}"]))
