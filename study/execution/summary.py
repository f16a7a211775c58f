"""What the terminal shows when a study has ended."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from study.analysis.answer import answer_of
from study.analysis.study_data import read_study_data
from study.execution.progress import describe
from study.preflight.prepare import Prepared
from study.records.study_folder import PAGE
from study.records.trial_record import TrialRecord, best_of, status_counts
from tl_core.config import MODES, Metric
from tl_core.text import pluralize
from tl_core.training.train import chance_warning


def conclude(prepared: Prepared, records: list[TrialRecord], status: str, console: Console) -> None:
    """Print what came of a study: counts, the best of each cell, the answer."""
    metric = prepared.settings.metric
    searched = [r for r in records if r.kind == "search"]
    counts = status_counts(searched)
    asked = pluralize(prepared.settings.trials, "trial")
    console.print(f"\n{status}: {counts or 'no trial'} of {asked}")
    if confirming := [r for r in records if r.kind in ("confirm", "control")]:
        console.print(f"confirmed on fresh seeds: {_confirmed(confirming)}")
    best = best_of(records, metric)
    if best:
        console.print(_cells(records, metric))
        console.print(f"best: {describe(best, metric)}", highlight=False)
        console.print(f"      validation accuracy {best.value('val_accuracy'):.3f}")
        _print_answer(prepared, console)
    for warning in _warnings(prepared, records):
        console.print(f"warning: {warning}", style="yellow")
    page = f", with {PAGE}" if (prepared.folder / PAGE).exists() else ""
    console.print(f"files: {prepared.folder}/{page}")


def _print_answer(prepared: Prepared, console: Console) -> None:
    if not (prepared.folder / PAGE).exists():
        return  # Why there is no report was told; it has the answer.
    for sentence in answer_of(read_study_data(prepared.folder)):
        console.print(f"\n{sentence}", soft_wrap=False, highlight=False)
    console.print()


def _cells(records: list[TrialRecord], metric: Metric) -> Table:
    """The best trial of each mode at each ratio."""
    modes = [mode for mode in MODES if any(r.config.mode == mode for r in records)]
    table = Table("train_ratio", *modes, title=f"best {metric} (trial)")
    for ratio in sorted({r.config.train_ratio for r in records}):
        here = [r for r in records if r.config.train_ratio == ratio]
        bests = [best_of([r for r in here if r.config.mode == mode], metric) for mode in modes]
        cells = [f"{b.value(metric):.4f} ({b.trial})" if b else "none" for b in bests]
        table.add_row(f"{ratio:g}", *cells)
    return table


def _confirmed(records: list[TrialRecord]) -> str:
    controls = sum(r.kind == "control" for r in records)
    told = f", {controls} of them for the auxiliary task's effect" if controls else ""
    return f"{status_counts(records)} of {pluralize(len(records), 'trial')}{told}"


def _warnings(prepared: Prepared, records: list[TrialRecord]) -> Iterator[str]:
    """Speak up only if the best frozen trial is near chance: bad learning rates are no news."""
    frozen = [r for r in records if r.config.mode == "freeze"]
    best = best_of(frozen, "val_accuracy")
    if best and (warning := chance_warning(best.config, prepared.images, best.history[-1])):
        yield f"trial {best.trial}, the best frozen one: {warning}"
