"""What the doctor is doing, for how long, and for about how long still; on a terminal alone."""

import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

_USUAL_S = {
    "importing torch and Ray": 4.0, "checking": 4.0, "measuring sweeps": 2.0, "starting Ray": 4.0,
    "starting workers": 8.0, "measuring": 12.0,
}  # fmt: skip
"""Seconds of each stage on two cores that nothing else uses; all checks together are one."""


class Stages:
    """Shows the stages of the doctor as they come.

    How long the rest will take follows from the usual times, and from how much longer than usual
    the stages before have taken: on a busy machine all of them do.
    """

    def __init__(self, console: Console, started: float) -> None:
        """Show on `console`; `started` is when this process began, by `time.monotonic`."""
        self.started = started
        self._stages = [*_USUAL_S]
        """The one that runs, and those that may follow."""
        self._usual = 0.0
        """Seconds that the stages before usually take."""
        self._since, self._doing = started, ""
        self._spinner = Spinner("dots")
        self._live = Live(console=console, transient=True, get_renderable=self._render)

    def __enter__(self) -> Self:
        if self._live.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begin(self, doing: str) -> None:
        """Something begins, and all before it has ended."""
        self._doing = doing
        stage = "checking" if doing.startswith("checking ") else doing
        if stage in self._stages[1:]:
            self._usual += _USUAL_S[self._stages[0]]
            del self._stages[: self._stages.index(stage)]  # Some may not be needed.
            self._since = time.monotonic()
        self._live.refresh()

    def text(self) -> str:
        """What is shown."""
        now = time.monotonic()
        times = max(1.0, (self._since - self.started) / self._usual) if self._usual else 1.0
        own, *later = (times * _USUAL_S[stage] for stage in self._stages)
        left = max(0.0, own - (now - self._since)) + sum(later)
        return f"{self._doing}: {_clock(now - self.started)}, about {_clock(left)} left"

    def _render(self) -> Spinner:
        self._spinner.update(text=self.text())
        return self._spinner


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
