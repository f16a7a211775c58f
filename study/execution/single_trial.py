"""The debug mode: one trial in this process, without Ray, so that breakpoints work."""

from pathlib import Path

from rich.console import Console

from study.answers.phrases import show_number, show_rate, show_weight
from study.execution.run_study import EXIT_CODES, open_journal
from study.preflight.prepare import Prepared
from study.records.journal import Journal
from study.records.trial_record import TrialRecord
from study.reporting.figures.fonts import fonts_for
from study.reporting.figures.saving import save_png
from study.reporting.figures.trial_plots import draw_curves
from study.search.space import single_config
from study.signals import set_exit_message
from study.tracking.sender import Sender, close_sender, print_link
from tl_core.config import EpochMetrics
from tl_core.device import CPU, find_device, set_deterministic
from tl_core.errors import DivergedError, GpuMemoryError
from tl_core.files import is_disk_full
from tl_core.inference.model_card import is_taught
from tl_core.training.train import run_trial


def run_debug(prepared: Prepared, console: Console, sender: Sender) -> int:
    """Train one trial, print a line an epoch, read the test set; return the exit code."""
    settings, folder = prepared.settings, prepared.folder
    status: str = "interrupted"
    try:
        sender.wait_for_store()  # Before any training, as the store may be unavailable.
        journal = open_journal(prepared, sender)
        set_exit_message(f"interrupted; {folder}/ has what the trial has done")
        try:
            record = journal.start(single_config(settings))
            code = _run(prepared, journal, record, console)
        finally:
            journal.interrupt()
            status = journal.records[0].status if journal.records else "interrupted"
            journal.save(status)
            journal.close(status, [])
    except OSError as error:
        if not is_disk_full(error):
            raise
        why = f"{error.strerror}: {error.filename or folder}; make room and start the trial again"
        console.print(why, style="red", highlight=False)
        code = EXIT_CODES["disk full"]
    finally:
        close_sender(sender, folder, console, interrupted=status == "interrupted")
    if folder.exists():
        console.print(f"files: {folder}/")
        print_link(sender, folder, settings, console)
    return code


def _run(prepared: Prepared, journal: Journal, record: TrialRecord, console: Console) -> int:
    device = find_device() if prepared.gpus else CPU
    set_deterministic(prepared.settings.deterministic)

    def report(metrics: EpochMetrics) -> None:
        journal.epoch(record, metrics)
        print_epoch(metrics, record.config.epochs, console)

    try:
        result = run_trial(
            record.config, prepared.images, prepared.settings.cache, device, report, read_test=True
        )
    except (DivergedError, GpuMemoryError) as error:
        journal.end(record, "failed", str(error))
        console.print(f"failed: {error}", style="red")
        return 3
    except Exception as error:
        journal.end(record, "failed", f"{type(error).__name__}: {error}")
        raise
    record.test = result.test
    console.print(_test_scores(prepared, record), style="bold")
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow")
    curves = prepared.folder / "curves.png"
    title = _title(prepared, record)
    with fonts_for([title]):
        save_png(draw_curves(record, title), curves)
    journal.end(record, "done", files=[curves])
    return 0


def _test_scores(prepared: Prepared, record: TrialRecord) -> str:
    """The test accuracy, and the scores of the auxiliary task if the trial learns it."""
    taught = is_taught(record.config.model_dump())
    names = ("accuracy", *(prepared.images.aux.task.scores if taught else ()))
    found = {name: record.test.get(f"test_{name}") for name in names}
    return "test " + ", ".join(
        f"{k} {show_number(value)}" for k, value in found.items() if value is not None
    )


def print_epoch(m: EpochMetrics, epochs: int, console: Console) -> None:
    """Print one line for an epoch of so many, as the article does."""
    learned = m.aux_weight_learned
    weight = "" if learned is None else f"  aux_weight {learned:.4f}"
    weight += "" if m.l2 is None else f"  l2 {m.l2:.3g}"
    console.print(
        f"epoch {m.epoch}/{epochs}  training loss {show_number(m.train_loss)}  "
        f"training accuracy {m.train_accuracy:.4f}  validation accuracy {m.val_accuracy:.4f}"
        f"{weight}",
        highlight=False,
    )


def _title(prepared: Prepared, record: TrialRecord) -> str:
    c = record.config
    return (
        f"{c.backbone}, {c.mode}, train_ratio {c.train_ratio:g}, {show_rate(record, 'g')}, "
        f"aux_weight {show_weight(c.aux_weight, 'g')}\n{Path(prepared.images.name).name}: "
        f"test accuracy {record.test['test_accuracy']:.3f}"
    )
