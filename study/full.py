"""A whole study: features once, search on Ray, results and where to look next."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console

from study.conclusion import conclude
from study.display import StudyDisplay
from study.handover import end_sending, tell_where
from study.journal import Display, Journal, open_journal
from study.prepare import Prepared, frozen_backbone
from study.ray_environment import set_ray_environment
from study.records import ENDED
from study.report import FIGURES, write_report, write_tables
from study.results import Results
from study.sender import Offline, OwnProcess, Sender
from tl_core.features import load_features
from tl_core.train import needs_features

EXIT_CODES = {"done": 0, "some trials failed": 3, "interrupted": 130}


def run_study(prepared: Prepared, console: Console, displays: Sequence[Display] = ()) -> int:
    """Search, show, record; return the exit code. `displays` are told beside the console."""
    settings, folder, status = prepared.settings, prepared.folder, "interrupted"
    sender: Sender = (Offline if settings.offline else OwnProcess)(settings.tracking_uri)
    try:
        with _own_ray(prepared, console):
            _extract_features(prepared)
            sender.opened()  # Before any training, or folder: the store may not be there.
            journal, results = open_journal(prepared, sender)
            journal.displays.extend(displays)
            status = _search(prepared, journal, results, console)
        conclude(prepared, journal.records, status, console)
    finally:
        end_sending(sender, folder, console, interrupted=status == "interrupted")
    tell_where(sender, folder, settings, console)
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
        with StudyDisplay(prepared.more, settings.metric, console, prepared.before) as display:
            journal.displays.append(display)
            search(settings, prepared.images, prepared.folder, prepared.gpus, journal)
        status = _status(journal, prepared)
    finally:
        journal.interrupt()
        results.save(journal.records, status)
        journal.close(status, _files(prepared.folder, console))
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


def _status(journal: Journal, prepared: Prepared) -> str:
    # Ray Tune returns as if all were well after Ctrl-C, so what matters is what was finished.
    before = {r.trial for r in prepared.before}
    ended = [r for r in journal.records if r.trial not in before and r.status in ENDED]
    searched = sum(r.kind == "search" for r in ended)
    confirmed = len(ended) - searched
    if searched < prepared.more or journal.expected is None or confirmed < journal.expected:
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
