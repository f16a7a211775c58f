"""Send to MLflow what it lacks of a study: `python study/sync.py NAME`."""

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from study.config.defaults import DEFAULTS
from study.config.uris import is_server, without_credentials
from study.errors import print_faults
from study.records.ledger import FILE, read_events, read_state
from study.records.study_folder import find_study
from study.tracking.links import where_to_look
from study.tracking.sender import (
    study_run,  # Before MLflow: it keeps MLflow from telling of its use.
)
from study.tracking.server import check_server
from study.tracking.sync_state import read_sync_state
from tl_core.text import pluralize

if TYPE_CHECKING:
    from study.tracking.sync_process import SyncProcess

_ABOUT = """\
Send to MLflow what it lacks of a study: one that ran with --offline, or whose store was away. What
is there already is not sent again."""
_TITLE = "not everything could be sent"
_EPILOG = """\
exit codes: 0 all is there, 2 no such study or store, or another process is sending, 130 interrupted
(what was sent stays)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 or 130."""
    given = _parser().parse_args(argv)
    from tl_core.errors import InputError

    console = Console(soft_wrap=True, markup=False, emoji=False)
    try:
        folder = find_study(given.study, given.out)
        return _sync(folder, given.tracking_uri or _store_of(folder), console)
    except InputError as error:
        print_faults(_TITLE, error.faults)
        return 2
    except OSError as error:
        print_faults(_TITLE, [str(error)])
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command sends the rest", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "study/sync.py",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("study", metavar="NAME", help="a study's name, or its folder")
    out = DEFAULTS["out"]
    parser.add_argument("--out", type=Path, default=out, help=f"where studies are ({out})")
    parser.add_argument(
        "--tracking-uri",
        help="where MLflow keeps the runs; by default where the study has or would have sent them,"
        " without user, password and options, which are not stored",
    )
    return parser


def _store_of(folder: Path) -> str:
    """Return where a study is to be sent to."""
    import json

    if sent := read_sync_state(folder):
        return sent.store
    return str(json.loads((folder / "study.json").read_text())["settings"]["tracking_uri"])


def _sync(folder: Path, uri: str, console: Console) -> int:
    with console.status(f"opening {without_credentials(uri)}"):
        if is_server(uri):  # MLflow itself asks again and again, and tells what Python told it.
            check_server(uri, "what is to be sent stays in the ledger")
        from study.tracking.sync_process import SyncProcess
        from study.tracking.writer import MlflowWriter

        tracker = MlflowWriter(uri)
        delivery = SyncProcess(folder, tracker)
    before = delivery.sent
    try:
        error = _send(delivery, console)
    finally:
        delivery.close()
        console.print(_sent(folder, before, delivery))
    if error:
        print_faults(_TITLE, [f"--tracking-uri {without_credentials(uri)}: {error}"])
        return 2
    if note := _still_open(folder):
        console.print(note)
    console.print(where_to_look(uri, tracker.experiment_id, study_run(folder)))
    return 0


def _send(delivery: "SyncProcess", console: Console) -> str | None:
    """Send all there is now, with a bar; return why some was left."""
    ended = threading.Event()
    ended.set()
    texts = (BarColumn(60), MofNCompleteColumn(), TextColumn("events, ETA"), TimeRemainingColumn())
    with Progress(*texts, console=console, transient=True, disable=not console.is_terminal) as bar:
        total = delivery.left()
        task = bar.add_task("events", total=total)
        return delivery.follow(ended, lambda: bar.update(task, completed=total - delivery.left()))


def _sent(folder: Path, before: int, delivery: "SyncProcess") -> str:
    """Say how much was sent and how much is left."""
    events = [e for e, after in read_events(folder / FILE, before) if after <= delivery.sent]
    trials = {event["trial"] for event in events if "trial" in event}
    left = delivery.left()
    if not events and not left:
        return "nothing to send"
    rest = f"; {pluralize(left, 'event')} left" if left else ""
    return f"sent {pluralize(len(events), 'event')}, of {pluralize(len(trials), 'trial')}{rest}"


def _still_open(folder: Path) -> str | None:
    """Say which runs have not ended, of a study that goes on or was killed."""
    events = read_events(folder / FILE)
    if not events or events[-1][0]["event"] == "close":
        return None
    state = read_state(folder)
    study = [] if state.about["settings"]["debug"] else ["the study"]
    trials = [f"trial {r.trial}" for r in state.records.values() if r.status == "running"]
    return f"note: not ended, so RUNNING in MLflow: {', '.join(study + trials)}"


if __name__ == "__main__":
    sys.exit(main())
