"""A whole study: features once, the search, its files, and where to look next."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from study.analysis.study_data import StudyData, read_study_data
from study.cluster.ray_environment import set_ray_environment
from study.config.program import command
from study.config.values import show_folder
from study.diagnosis.first_line import expect, workers_s
from study.diagnosis.remaining import Remaining
from study.errors import NodeError, print_faults
from study.execution.progress import StudyDisplay
from study.preflight.prepare import Prepared
from study.preflight.system import loopback_faults
from study.records.journal import Journal
from study.records.ledger import ENDINGS, OUT_OF_TIME, Ledger
from study.records.study_files import Results
from study.records.study_folder import BEST, FIGURES, STUDY, TRIALS, how_to_resume
from study.reporting.build import write_report, write_tables
from study.reporting.summary import outcome_of, print_summary
from study.search.choosing import Choices, fresh_seeds
from study.search.confirmation import plan
from study.signals import EXIT_CODE, set_exit_message
from study.tracking.sender import Sender, close_sender, print_link
from study.trials.features import with_features
from study.trials.trial_context import TrialContext, make_context, shape_of
from tl_core.errors import OutOfTimeError
from tl_core.files import is_disk_full

TOO_LITTLE = "too little time"
"""Of a run that the same `--max-time` would never get further."""
EXIT_CODES = {
    "done": 0,
    "fault": 2,
    TOO_LITTLE: 2,
    "some trials failed": 3,
    "disk full": 4,
    OUT_OF_TIME: 5,
    "interrupted": EXIT_CODE,
}


def run_study(prepared: Prepared, console: Console, sender: Sender) -> int:
    """Run a study, show it on the console, send it, and return its exit code.

    Raises `OutOfTimeError` if the time is over before the frozen network is through.
    """
    settings, folder, status = prepared.settings, prepared.folder, "interrupted"
    try:
        with _ray(prepared) as start_ray:
            context, made = with_features(prepared, make_context(prepared), start_ray)
            sender.wait_for_store()  # Before any training, as the store may be unavailable.
            journal = open_journal(prepared, sender)
            set_exit_message(how_to_resume(folder))
            status, data, late = _search(prepared, context, made, journal, console, start_ray)
        print_summary(prepared, journal.records, status, data, console)
        for line in late:
            console.print(line, highlight=False)
        if status not in ENDINGS:
            longer = " a longer --max-time, or none" if status == TOO_LITTLE else ""
            console.print(how_to_resume(folder, status, longer), highlight=False)
    except OSError as error:
        if not is_disk_full(error):
            raise
        why = f"{error.strerror}: {error.filename or folder}; what has ended is kept, make room"
        then = f"\n{how_to_resume(folder)}" if folder.exists() else ""
        console.print(why + then, style="red", highlight=False)
        status = "disk full"
    except NodeError as error:  # Without features, nothing has begun.
        print_faults("the study can't go on", [str(error)])
        if folder.exists():
            console.print(how_to_resume(folder), highlight=False)
        status = "fault"
    finally:
        close_sender(sender, folder, console, interrupted=status not in ENDINGS)
    if folder.exists():
        print_link(sender, folder, settings, console)
    return EXIT_CODES[status]


def open_journal(prepared: Prepared, sender: Sender) -> Journal:
    """Make the run's folder and open what is written to.

    Raises `InputError` when the folder can't be made, or another run uses it or has changed it.
    """
    state = prepared.state
    was = state.about if state else None
    settings, nodes = prepared.settings, prepared.resources.nodes
    # Nothing of a study that is there is written before the lock.
    ledger = Ledger(prepared.folder, state.size) if state else None
    seeds = fresh_seeds(settings) if settings.confirm else ()
    results = Results(prepared.folder, settings, prepared.images, was, nodes, seeds)
    ledger = ledger or Ledger(prepared.folder)
    ledger.study(str(settings.name), results.study, again=state is not None)
    sender.follow(prepared.folder)
    for record in (r for r in prepared.before if r.status == "running"):
        record.status = "interrupted"  # Of a run that was killed.
        ledger.end(record, [])
    return Journal(results, ledger, prepared.before)


@contextmanager
def _ray(prepared: Prepared) -> Iterator[Callable[[], object]]:
    """Yield what starts a Ray for this study when it is first needed; a second call does nothing.

    A cluster that was joined is up already, and stays up.
    """
    with ExitStack() as stack:

        def start() -> None:
            if faults := [*loopback_faults()]:  # So far a note: Ray might not be needed.
                raise NodeError(str(faults[0]))
            from study.cluster.local_ray import local_ray  # Ray, half a second.

            stack.enter_context(local_ray(prepared.gpus, study=prepared.folder))

        if prepared.resources.joined:
            import ray

            stack.callback(ray.shutdown)
            yield lambda: None
        else:
            set_ray_environment()
            yield cache(start)


def _search(
    prepared: Prepared,
    context: TrialContext,
    made: bool,
    journal: Journal,
    console: Console,
    start_ray: Callable[[], object],
) -> tuple[str, StudyData | None, list[str]]:
    """Run all trials, write files; return the status, the report's data, and what was left out."""
    from study.execution.search import search
    from study.execution.time_budget import make_time_budget

    settings, capacity = prepared.settings, prepared.capacity
    status, data, budget = "interrupted", None, None
    try:
        expected = expect(prepared, shape_of(prepared.images, context), journal.records)
        budget = make_time_budget(prepared, made, expected)
        limits = prepared.end, budget.left_out if budget else {}
        remaining = Remaining(expected, capacity, workers_s(prepared), *limits)
        with StudyDisplay(remaining, console) as display:
            journal.display = display
            given = context, capacity, prepared.folder, journal
            winner = prepared.state.winner if prepared.state else None
            search(settings, *given, winner, start_ray, budget=budget)
        status = _status(journal, prepared, left_out=bool(budget and budget.left_out))
    except OutOfTimeError:
        status = _status(journal, prepared, left_out=True)  # The last trial may just have ended.
    except KeyboardInterrupt:
        pass  # Ended trials are in the ledger; a resumed study runs the others.
    finally:
        journal.interrupt()
        winner = Choices(settings, journal.records).winning
        journal.save(status, winner)
        files: list[Path] = []
        outcome: dict[str, Any] = {}
        if status in (*ENDINGS, OUT_OF_TIME):  # One that is stopped must end soon.
            try:
                files, data, outcome = _files(prepared.folder, console)
            except KeyboardInterrupt:  # The study goes on with its report.
                status = "interrupted"
                journal.save(status, winner)
        journal.close(status, files, outcome)
    stuck = status == OUT_OF_TIME and budget and budget.is_stuck
    return TOO_LITTLE if stuck else status, data, [*budget.describe()] if budget else []


def _status(journal: Journal, prepared: Prepared, left_out: bool = False) -> str:
    # Count what was finished: Ray Tune returns normally after many faults.
    settings = prepared.settings
    if not journal.complete(settings.trials) or plan(settings, journal.records):
        return OUT_OF_TIME if left_out else "interrupted"
    return "some trials failed" if any(r.status == "failed" for r in journal.records) else "done"


def _files(folder: Path, console: Console) -> tuple[list[Path], StudyData | None, dict[str, Any]]:
    """The study's files, report and figures among them; what they tell, and the answer."""
    files = [folder / name for name in (STUDY, TRIALS, BEST)]
    try:
        with console.status("writing the report"):
            data = read_study_data(folder)
            files += write_tables(data)
            page, outcome = write_report(data), outcome_of(data)
    except Exception as error:  # The trials must reach MLflow without a report, too.
        why = f"{type(error).__name__}: {error}"
        again = shlex.join([*command("report"), show_folder(folder)])
        console.print(f"warning: no report ({why}); {again} tries again")
        return files, None, {}
    return [*files, page, *sorted((folder / FIGURES).iterdir())], data, outcome
