"""What the terminal shows when a study has ended."""

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


def print_summary(
    prepared: Prepared, records: list[TrialRecord], status: str, console: Console
) -> None:
    """Print the results of a study: counts, the best trial of each cell, the answer."""
    metric, folder = prepared.settings.metric, prepared.folder
    counts = status_counts([r for r in records if r.kind == "search"])
    planned = pluralize(prepared.settings.trials, "trial")
    console.print(f"\n{status}: {counts or 'no trial'} of {planned}")
    if confirming := [r for r in records if r.kind in ("confirm", "control")]:
        controls = sum(r.kind == "control" for r in confirming)
        effect = f", {controls} of them for the auxiliary task's effect" if controls else ""
        of = f"of {pluralize(len(confirming), 'trial')}{effect}"
        console.print(f"confirmed on fresh seeds: {status_counts(confirming)} {of}")
    has_page = (folder / PAGE).exists()
    if best := best_of(records, metric):
        console.print(_cells(records, metric))
        console.print(f"best: {describe(best, metric)}", highlight=False)
        console.print(f"      validation accuracy {best.value('val_accuracy'):.3f}")
        # Without a page, the report has failed, and the answer would fail for the same reason.
        for sentence in answer_of(read_study_data(folder)) if has_page else ():
            console.print(f"\n{sentence}", soft_wrap=False, highlight=False)
        console.print()
    if warning := _chance_warning(prepared, records):
        console.print(f"warning: {warning}", style="yellow")
    console.print(f"files: {folder}/{f', with {PAGE}' if has_page else ''}")


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


def _chance_warning(prepared: Prepared, records: list[TrialRecord]) -> str | None:
    """Warn if even the best frozen trial is near chance; a bad learning rate is no reason."""
    best = best_of([r for r in records if r.config.mode == "freeze"], "val_accuracy")
    if best and (warning := chance_warning(best.config, prepared.images, best.history[-1])):
        return f"trial {best.trial}, the best frozen one: {warning}"
    return None
