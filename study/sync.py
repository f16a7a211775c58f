"""Send the unsent events of a study to MLflow: `python study/sync.py NAME`."""

import json
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if not __package__:  # Run as a script: other packages may be called `study`.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.cluster.folders import store_faults
from study.config.command_line import Parser
from study.config.defaults import DEFAULTS
from study.config.uris import (
    is_database,
    is_server,
    lost_place,
    reason,
    with_credentials,
    without_credentials,
)
from study.errors import NOT_TEXT, fault_code
from study.records.ledger import read_events, read_state
from study.records.study_folder import LEDGER, STUDY, find_study
from study.signals import interruptible, run_command, set_exit_message
from study.tracking.client import check_server
from study.tracking.database import check_database, database_faults
from study.tracking.links import where_to_look
from study.tracking.sync_state import (
    copy_fault,
    events_left,
    move_notes,
    read_sync_state,
    study_run,
)
from tl_core.errors import Fault, InputError
from tl_core.files import user_path
from tl_core.text import pluralize, printable

if TYPE_CHECKING:
    from study.tracking.sync_process import LedgerSync

_ABOUT = """\
Send the events of a study that MLflow does not have yet: the study ran with --offline, or its store
did not answer. Events that MLflow has are not sent again. Runs that the store has lost, as its file
or they were deleted, are made again."""
_TITLE = "not everything could be sent"
_EPILOG = """\
exit codes: 0 all is sent, 2 no such study or store, or another process is sending,
4 no room for the output, 130 interrupted
(what was sent stays)"""
_UNSENT = "unsent events stay in the ledger"
_INTERRUPTED = "interrupted; the same command sends the rest"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2, 4 or 130."""
    return run_command(_TITLE, lambda: _sync(argv))


def _sync(argv: Sequence[str] | None) -> int:
    parser = _parser()
    given, more = parser.parse_known_args(argv)
    _check_one_study(parser, given.study, more)
    console = Console(soft_wrap=True, markup=False, emoji=False)
    with interruptible():
        set_exit_message(_INTERRUPTED)
        folder = find_study(given.study, given.out)
        try:
            with _paths_of_another_locale():
                uri = given.tracking_uri or with_credentials(_own_store(folder))
            return fault_code(_TITLE, send(folder, uri, console))
        except OSError as error:
            return fault_code(_TITLE, [str(error)])


@contextmanager
def _paths_of_another_locale() -> Iterator[None]:
    """Tell that this locale can't have the path of a store, which a study has written down."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise InputError([f"{without_credentials(error.object)}: {NOT_TEXT}"]) from error


def _parser() -> Parser:
    parser = Parser("study/sync.py", _ABOUT, _EPILOG)
    parser.add_argument("study", metavar="NAME", help="a study's name, or its folder")
    out = DEFAULTS["out"]
    parser.add_argument("--out", type=user_path, default=out, help=f"where studies are ({out})")
    parser.add_argument(
        "--tracking-uri",
        help="where MLflow keeps the runs; by default where the study has or would have sent them,"
        " without user, password and options, which are not stored: those of MLFLOW_TRACKING_URI"
        " are taken if it names the same store. Another store gets all events, and those of later"
        " runs of the study; the first one gets no more",
    )
    return parser


def _check_one_study(parser: Parser, study: str, more: Sequence[str]) -> None:
    """End with an error if words are left that are no setting of the command."""
    if any(word.startswith("-") for word in more):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        several = ", ".join([study, *more])
        parser.error(f"this command takes one study, and was given {1 + len(more)}: {several}")


def _own_store(folder: Path) -> str:
    """Return the URI of a study's store.

    Raises `InputError` if its folder is gone, as after a move to another machine: MLflow would make
    the folder again, and the runs would be where nobody looks for them.
    """
    store = _store_of(folder)
    if place := lost_place(store):
        gone = f"{place.parent} is not there, in which this study has its store, {place.name}"
        raise InputError([f"{gone}; name another: --tracking-uri sqlite:///mlflow.db"])
    return store


def _store_of(folder: Path) -> str:
    """Return the URI of the store that a study belongs to."""
    if state := read_sync_state(folder):
        return state.store
    return str(json.loads((folder / STUDY).read_text(encoding="utf-8"))["settings"]["tracking_uri"])


def _experiment_of(folder: Path) -> str:
    """Return the experiment of a study."""
    return str(read_state(folder).about["settings"]["experiment"])


def send(folder: Path, uri: str, console: Console) -> tuple[Fault, ...]:
    """Send all unsent events of a study to the store at `uri`; return the faults.

    Raises `InputError` when the store can't be used, another process sends the same study, or it is
    a copy of one that was sent there.
    """
    if why := copy_fault(folder, uri):
        raise InputError([f"{folder}: {why}"])
    shown, experiment = without_credentials(uri), _experiment_of(folder)
    moved = [*move_notes(folder, uri)]
    # MLflow's own messages are long and come late.
    with _paths_of_another_locale():
        faults = store_faults(uri) or database_faults(uri, experiment)
    if faults:
        return tuple(faults)
    with console.status(f"opening {shown}"):
        if is_server(uri):
            check_server(uri, experiment, _UNSENT)
        elif is_database(uri):
            check_database(uri, experiment, _UNSENT)
        from study.tracking.sync_process import LedgerSync
        from study.tracking.writer import MlflowWriter

        writer = MlflowWriter(uri, experiment)
        sync = LedgerSync(folder, writer)
    try:
        if lost := sync.find_lost_runs():
            runs = pluralize(lost, "run")
            console.print(f"{shown} has lost {runs} of this study, made again from the ledger")
    except Exception as fault:  # Each store has its own exceptions.
        sync.close()
        return (Fault("--tracking-uri", f"{shown}: {reason(fault, uri)}"),)
    before = sync.sent
    try:
        error = _follow(sync, folder, console)
    finally:
        sync.close()
        console.print(_summary(folder, before, sync.sent))
    if error:
        return (Fault("--tracking-uri", f"{shown}: {error}"),)
    if writer.gone:
        console.print(_gone_note(writer.gone))
    for note in (*moved, *sorted(writer.notes)):
        console.print(f"note: {note}")
    if unended := still_open(folder):
        console.print(unended)
    console.print(where_to_look(uri, writer.experiment_id, study_run(folder)))
    return ()


def _follow(sync: "LedgerSync", folder: Path, console: Console) -> str | None:
    """Send all events, with a progress bar; return the reason if some are left."""
    ended = threading.Event()
    ended.set()
    texts = (BarColumn(60), MofNCompleteColumn(), TextColumn("events, ETA"), TimeRemainingColumn())
    with Progress(*texts, console=console, transient=True, disable=not console.is_terminal) as bar:
        total = events_left(folder)
        task = bar.add_task("events", total=total)
        return sync.follow(ended, lambda: bar.update(task, completed=total - events_left(folder)))


def _summary(folder: Path, before: int, sent: int) -> str:
    """How much was sent, by offsets in the ledger, and how much is left."""
    events = [event for event, offset in read_events(folder / LEDGER, before) if offset <= sent]
    trials = {event["trial"] for event in events if "trial" in event}
    left = events_left(folder)
    if not events and not left:
        return "nothing to send"
    rest = f"; {pluralize(left, 'event')} left" if left else ""
    return f"sent {pluralize(len(events), 'event')}, of {pluralize(len(trials), 'trial')}{rest}"


def _gone_note(gone: Collection[str]) -> str:
    """That files of the study are not there any more, or never were in its folder."""
    names = printable(", ".join(sorted(Path(path).name for path in gone)))
    return f"note: {pluralize(len(gone), 'file')} can't be sent, as not in its folder: {names}"


def still_open(folder: Path) -> str | None:
    """A note about the runs that have not ended, of a study that still runs or was killed."""
    state = read_state(folder)
    if state.status != "running" or not state.about:
        return None
    study = [] if state.about["settings"]["debug"] else ["the study"]
    trials = [f"trial {r.trial}" for r in state.records.values() if r.status == "running"]
    return f"note: not ended, so RUNNING in MLflow: {', '.join(study + trials)}"


if __name__ == "__main__":
    sys.exit(main())
