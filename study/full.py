"""A whole study: features once, search on Ray, results and where to look next."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from study.addresses import where_to_look
from study.display import StudyDisplay, describe
from study.findings import read_findings
from study.journal import Display, Journal, open_journal
from study.opening import answer_of
from study.prepare import Prepared, frozen_backbone
from study.ray_environment import set_ray_environment
from study.records import TrialRecord, best_of
from study.report import FIGURES, write_report, write_tables
from study.results import Results
from study.sender import OwnProcess
from tl_core.config import MODES, Metric
from tl_core.features import load_features
from tl_core.train import chance_warning, needs_features

EXIT_CODES = {"done": 0, "some trials failed": 3, "interrupted": 130}


def run_study(prepared: Prepared, console: Console, displays: Sequence[Display] = ()) -> int:
    """Search, show, record; return the exit code. `displays` are told beside the console."""
    sender = OwnProcess(prepared.settings.tracking_uri)
    try:
        with _own_ray(prepared, console):
            _extract_features(prepared)
            sender.opened()  # Before any training, or folder: the store may not be there.
            journal, results = open_journal(prepared, sender)
            journal.displays.extend(displays)
            status = _search(prepared, journal, results, console)
    finally:
        with console.status("waiting for MLflow"):
            unsent = sender.close()
    _conclude(prepared, journal, status, console)
    if unsent:
        console.print(f"warning: not all is in MLflow ({unsent})", style="yellow")
    uri = prepared.settings.tracking_uri
    console.print(where_to_look(uri, sender.opened(), sender.study_run))
    return EXIT_CODES[status]


def _own_ray(prepared: Prepared, console: Console) -> AbstractContextManager[None]:
    set_ray_environment()
    with console.status("starting Ray"):
        from study.ray_local import local_ray
    return local_ray(prepared.gpus)


def _search(prepared: Prepared, journal: Journal, results: Results, console: Console) -> str:
    """Run all trials, leave the files, return how it ended."""
    from study.search import search

    settings, status = prepared.settings, "interrupted"
    try:
        more = settings.trials - sum(r.kind == "search" for r in prepared.before)
        with StudyDisplay(more, settings.metric, console, prepared.before) as display:
            journal.displays.append(display)
            search(settings, prepared.images, prepared.folder, prepared.gpus, journal)
        status = _status(journal.records, settings.trials)
    finally:
        journal.interrupt()
        results.save(journal.records, status)
        winner = prepared.folder / "winner"
        files = _files(prepared.folder, console)
        journal.close(status, files, winner if winner.is_dir() else None)
    return status


def _extract_features(prepared: Prepared) -> None:
    """Run the frozen backbone over the images, unless the cache has what it says of them."""
    from study.extraction import spread

    s, images = prepared.settings, prepared.images
    if s.weights == "none" or not any(needs_features(mode) for mode in s.mode):
        return
    backbone = frozen_backbone(s)
    what = (s.backbone, s.weights, s.image_size, backbone.precision)
    forward = spread(images.path.resolve(), what, prepared.gpus)
    load_features(images, backbone, s.cache, forward, s.hflip)


def _status(records: list[TrialRecord], trials: int) -> str:
    # Ray Tune returns as if all were well after Ctrl-C, so what matters is what was finished.
    ended = [r for r in records if r.status in ("done", "pruned", "failed")]
    if len(ended) < max(trials, len(records)):
        return "interrupted"
    return "some trials failed" if any(r.status == "failed" for r in ended) else "done"


def _files(folder: Path, console: Console) -> list[Path]:
    """The study's files, its tables, report and figures among them."""
    files = [folder / name for name in ("study.json", "trials.csv", "best.json")]
    try:
        with console.status("writing the report"):
            files += write_tables(folder)
            page = write_report(folder)
    except Exception as error:  # Whatever it is, the trials must still reach MLflow.
        why = f"{type(error).__name__}: {error}"
        console.print(f"warning: no report ({why}); python study/report.py {folder} tries again")
        return files
    return [*files, page, *sorted((folder / FIGURES).iterdir())]


def _conclude(prepared: Prepared, journal: Journal, status: str, console: Console) -> None:
    metric, records = prepared.settings.metric, journal.records
    searched = [r for r in records if r.kind == "search"]
    counts = ", ".join(f"{n} {s}" for s, n in _counts(searched))
    console.print(f"\n{status}: {counts or 'no trial'} of {prepared.settings.trials} trials")
    if confirming := [r for r in records if r.kind != "search"]:
        counts = ", ".join(f"{n} {s}" for s, n in _counts(confirming))
        console.print(f"confirmed on fresh seeds: {counts} of {len(confirming)} trials")
    best = best_of(records, metric)
    if best:
        console.print(_cells(records, metric))
        console.print(f"best: {describe(best, metric)}", highlight=False)
        console.print(f"      validation accuracy {best.value('val_accuracy'):.3f}")
        for sentence in answer_of(read_findings(prepared.folder)):
            console.print(f"\n{sentence}", soft_wrap=False, highlight=False)
        console.print()
    for warning in _warnings(prepared, journal):
        console.print(f"warning: {warning}", style="yellow")
    console.print(f"files: {prepared.folder}/, with report.html")


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


def _counts(records: list[TrialRecord]) -> Iterator[tuple[str, int]]:
    for status in ("done", "pruned", "failed", "interrupted"):
        if n := sum(r.status == status for r in records):
            yield status, n


def _warnings(prepared: Prepared, journal: Journal) -> Iterator[str]:
    """Speak up only if the best frozen trial is near chance: bad learning rates are no news."""
    frozen = [r for r in journal.records if r.config.mode == "freeze"]
    best = best_of(frozen, "val_accuracy")
    if best and (warning := chance_warning(best.config, prepared.images, best.history[-1])):
        yield warning
