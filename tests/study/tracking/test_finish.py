"""What a run prints about MLflow at its end."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from study.records.study_folder import LEDGER
from study.tracking.sender import NullSender, Show, close_sender, print_link
from study.tracking.sync_state import SyncState
from tests.support.studies.builders import make_settings

FOLDER = Path("runs/mine")


class LeavingSender(NullSender):
    """Leaves some events for the reason `why`, and records how long it could try."""

    def __init__(self, why: str | None) -> None:
        self._why = why
        self.within_s = 0.0

    def wait_for_store(self) -> str:
        return "7"

    def close(self, show: Show = print, within_s: float = 0.0) -> str | None:
        self.within_s = within_s
        show(3)
        return self._why


@pytest.fixture
def console() -> Console:
    FOLDER.mkdir(parents=True)
    (FOLDER / LEDGER).write_text('{"event": "study"}\n{"event": "start"}\n{"event": "ep')
    return Console(file=io.StringIO(), width=200, soft_wrap=True)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


UNSENT = "2 events are not in MLflow yet (it is gone); python study/sync.py mine sends them"


@pytest.mark.parametrize(("why", "interrupted", "within_s", "text"), [
    ("it is gone", False, float("inf"), f"warning: {UNSENT}\n"), (None, True, 8, ""),
])  # fmt: skip
def test_unsent_events_are_printed_with_the_command_that_sends_them(
    why: str | None, interrupted: bool, within_s: float, text: str, console: Console
) -> None:
    sender = LeavingSender(why)
    close_sender(sender, FOLDER, console, interrupted)
    assert (sender.within_s, printed(console)) == (within_s, text)


@pytest.mark.parametrize("debug", [False, True])
def test_link(debug: bool, console: Console) -> None:
    SyncState("http://host", 5, {"study": "the-run"}).save(FOLDER)
    settings = SimpleNamespace(offline=False, debug=debug, tracking_uri="http://me:secret@host")
    print_link(LeavingSender(None), FOLDER, settings, console)  # type: ignore[arg-type]
    assert printed(console).startswith("compare trials: http://host/#/experiments/7/")
    assert printed(console).endswith("CHART\n" if debug else "&viewStateShareKey=the-run\n")


def test_offline_study_prints_how_to_send_it(console: Console) -> None:
    print_link(NullSender(""), FOLDER, make_settings(offline=True), console)
    assert printed(console) == "nothing was sent to MLflow; python study/sync.py mine sends it\n"
