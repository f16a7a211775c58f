"""What the terminal says of trials, and of a study at its end; MLflow gets the end, too."""

from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from study.analysis.study_data import StudyData
from study.answers.answer import answer_of
from study.answers.limits import chance_note, resolution
from study.answers.phrases import seeds, show_number, show_rate, show_weight
from study.answers.recommendation import recommendation
from study.preflight.prepare import Prepared
from study.records.study_folder import PAGE
from study.records.trial_record import TrialRecord, best_of, modes_of, status_counts
from study.search.choosing import Choices
from tl_core.config import Metric, TrialConfig
from tl_core.text import pluralize


def describe(record: TrialRecord, metric: Metric) -> str:
    """One line on a trial: its factors, and how it ended."""
    c = record.config
    value = record.value(metric)
    result = f"{metric} {show_number(value)}" if value is not None else ""
    if record.test:
        result += f", test accuracy {record.test['test_accuracy']:.3f} ({seeds(c.seeds)})"
    result += " after " * bool(result) + pluralize(len(record.history), "epoch")
    why = f" ({record.error})" if record.error else ""
    factors = [c.mode, f"train_ratio={c.train_ratio:g}", show_rate(record, between="=")]
    factors += [] if c.unfreeze is None else [f"unfreeze={c.unfreeze}"]
    factors += [] if c.mode == "probe" else [f"aux_weight={show_weight(c.aux_weight)}"]
    shown = " ".join(filter(None, factors))
    return f"trial {record.trial}: {shown}: {result}, {record.status}{why}"


def best_table(records: list[TrialRecord], metric: Metric) -> Table:
    """The best trial of the search of each mode at each ratio."""
    modes = modes_of(records)
    table = Table("train_ratio", *modes, title=f"best {metric} of the search (trial)")
    for ratio in sorted({r.config.train_ratio for r in records}):
        here = [r for r in records if r.config.train_ratio == ratio]
        bests = [best_of([r for r in here if r.config.mode == mode], metric) for mode in modes]
        cells = [f"{show_number(b.value(metric))} ({b.trial})" if b else "none" for b in bests]
        table.add_row(f"{ratio:g}", *cells)
    return table


def print_summary(
    prepared: Prepared,
    records: list[TrialRecord],
    status: str,
    data: StudyData | None,
    console: Console,
) -> None:
    """Print the results of a study: counts, the best trial of each cell, the answer."""
    metric, folder = prepared.settings.metric, prepared.folder
    counts = status_counts([r for r in records if r.kind == "search"])
    planned = pluralize(prepared.settings.trials, "trial")
    console.print(f"\n{status}: {counts or 'no trial'} of {planned}")
    if repeats := [r for r in records if r.kind == "repeat"]:
        # Those of a control have another weight than the trial that they repeat.
        own = {(r.trial, r.config.aux_weight) for r in records}
        controls = sum((r.source, r.config.aux_weight) not in own for r in repeats)
        console.print(f"the best of each cell on further seeds: {_counted(repeats, controls)}")
    if confirming := [r for r in records if r.kind in ("confirm", "control")]:
        controls = sum(r.kind == "control" for r in confirming)
        console.print(f"confirmed on fresh seeds: {_counted(confirming, controls)}")
    if best := Choices(prepared.settings, records).winning:
        console.print(best_table(records, metric))
        unconfirmed = prepared.settings.confirm and best.kind == "search"
        name = "best of the search, not confirmed" if unconfirmed else "winner"
        console.print(f"{name}: {describe(best, metric)}", highlight=False)
        console.print(f"      validation accuracy {best.value('val_accuracy'):.3f}")
        for sentence in _sentences(data) if data else ():
            console.print(f"\n{sentence}", soft_wrap=False, highlight=False)
        console.print()
    if warning := chance_note(records, partial(_val_classes, prepared)):
        console.print(f"warning: {warning}", style="yellow")
    console.print(f"files: {folder}/{f', with {PAGE}' if (folder / PAGE).exists() else ''}")


def _counted(records: list[TrialRecord], controls: int) -> str:
    """How trials after the search ended, of which some are controls."""
    effect = f", {controls} of them for the auxiliary task's effect" if controls else ""
    return f"{status_counts(records)} of {pluralize(len(records), 'trial')}{effect}"


def outcome_of(data: StudyData) -> dict[str, Any]:
    """Return what MLflow shows of a study that has ended.

    `answer` is its sentences. If it has a winner, `winner` has the number, mode and train_ratio of
    that trial, and `scores` that trial's value of the study's metric, as `winner_val_log_loss`. If
    it is confirmed, they have the means over its cell's fresh seeds, too, as `val_log_loss_mean`
    and `test_accuracy_mean`.
    """
    best, cell, metric = data.winner, data.winning_cell, data.settings.metric
    if best is None:
        return {"answer": list(answer_of(data))}
    means = {name: e.mean for name, e in cell.scores.items()} if cell else {}
    means |= {metric: data.choices.mean_on_fresh_seeds(cell.cell)} if cell else {}
    c = best.config
    return {
        "answer": _sentences(data),
        "winner": {"trial": best.trial, "mode": c.mode, "train_ratio": c.train_ratio},
        "scores": {f"winner_{metric}": best.value(metric)}
        | {f"{name}_mean": mean for name, mean in means.items()},
    }


def _sentences(data: StudyData) -> list[str]:
    """What to do, then the answers, then how sure they are."""
    return [part for part in (recommendation(data), *answer_of(data), resolution(data)) if part]


def _val_classes(prepared: Prepared, c: TrialConfig) -> np.ndarray:
    images = prepared.images
    return np.bincount(images.labels[images.split(c.train_ratio, c.split_seed, c.seed).val])
