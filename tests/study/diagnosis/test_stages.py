"""What the doctor shows while it checks and measures."""

import io
import time

import pytest
from rich.console import Console

from study.diagnosis.stages import Stages


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its last place."""
    times = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: times[-1])
    return times


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


def test_a_quiet_machine_takes_the_usual_time(clock: list[float]) -> None:
    shown = Stages(console(terminal=False), started=100.0)
    usual = ("importing torch and Ray", "checking data", "measuring sweeps", "starting Ray")
    texts = []
    moments = (0, 4, 8, 10, 14, 22)
    for doing, at in zip((*usual, "starting workers", "measuring"), moments, strict=True):
        clock.append(100.0 + at)
        shown.begin(doing)
        texts.append(shown.text())
    assert texts[0] == "importing torch and Ray: 0:00, about 0:34 left"
    assert texts[1] == "checking data: 0:04, about 0:30 left"
    assert texts[-1] == "measuring: 0:22, about 0:12 left"
    clock.append(125.0)
    assert shown.text() == "measuring: 0:25, about 0:09 left"
    clock.append(160.0)
    assert shown.text() == "measuring: 1:00, about 0:00 left", "it takes longer than thought"


def test_on_a_busy_machine_what_is_left_takes_as_much_longer(clock: list[float]) -> None:
    shown = Stages(console(terminal=False), started=100.0)
    shown.begin("importing torch and Ray")
    clock.append(116.0)  # Four times the usual.
    shown.begin("checking settings")
    assert shown.text() == "checking settings: 0:16, about 2:00 left"
    clock.append(120.0)
    shown.begin("checking data")
    assert shown.text() == "checking data: 0:20, about 1:56 left", "all checks are one stage"
    clock.append(124.0)
    shown.begin("starting Ray")  # A stage that is not needed is passed over.
    assert shown.text() == "starting Ray: 0:24, about 1:12 left"


@pytest.mark.parametrize("terminal", [True, False])
def test_it_is_shown_on_a_terminal_alone(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = console(terminal)
    with Stages(screen, started=time.monotonic()) as shown:
        shown.begin("importing torch and Ray")
        screen.print("found")
        shown.begin("checking data")
    file = screen.file
    assert isinstance(file, io.StringIO)
    assert ("importing torch and Ray: 0:00, about" in file.getvalue()) == terminal
    assert "found" in file.getvalue()
    assert terminal or file.getvalue() == "found\n"
