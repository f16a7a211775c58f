"""What a run says of MLflow when it ends."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from study.records.ledger import FILE
from study.tracking.finish import end_sending, tell_where
from study.tracking.sender import NullSender, Show
from study.tracking.sync_state import SyncState
from tests.support.studies.builders import make_settings

FOLDER = Path("runs/mine")


class Leaving:
    """A sender that leaves some, and notes how long it was to try."""

    def __init__(self, why: str | None) -> None:
        self._why = why
        self.within_s = 0.0

    def follow(self, folder: Path) -> None:
        """Not asked for here."""

    def opened(self) -> str:
        return "7"

    def close(self, show: Show = print, within_s: float = 0.0) -> str | None:
        self.within_s = within_s
        show(3)
        return self._why


@pytest.fixture
def console() -> Console:
    FOLDER.mkdir(parents=True)
    (FOLDER / FILE).write_text('{"event": "study"}\n{"event": "start"}\n{"event": "ep')
    return Console(file=io.StringIO(), width=200, soft_wrap=True)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_is_left_is_told_with_the_way_to_send_it(console: Console) -> None:
    sender = Leaving("it is gone")
    end_sending(sender, FOLDER, console)
    assert sender.within_s == float("inf")
    told = "warning: 2 events are not in MLflow yet (it is gone); python study/sync.py mine sends"
    assert printed(console) == f"{told} them\n"


def test_nothing_is_told_when_all_is_there_and_no_wait_is_long_after_a_stop(
    console: Console,
) -> None:
    sender = Leaving(None)
    end_sending(sender, FOLDER, console, interrupted=True)
    assert sender.within_s == 8
    assert printed(console) == ""


@pytest.mark.parametrize(
    ("debug", "end"), [(False, "&viewStateShareKey=the-run\n"), (True, "CHART\n")]
)
def test_where_to_look(debug: bool, end: str, console: Console) -> None:
    SyncState("http://host", 5, {"study": "the-run"}).save(FOLDER)
    settings = SimpleNamespace(offline=False, debug=debug, tracking_uri="http://me:secret@host")
    tell_where(Leaving(None), FOLDER, settings, console)  # type: ignore[arg-type]
    assert printed(console).startswith("compare trials: http://host/#/experiments/7/")
    assert printed(console).endswith(end)


def test_what_was_not_sent_is_told_with_the_way_to_do_so(console: Console) -> None:
    tell_where(NullSender(""), FOLDER, make_settings(offline=True), console)
    assert printed(console) == "nothing was sent to MLflow; python study/sync.py mine sends it\n"
