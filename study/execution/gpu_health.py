"""Which GPU fails trial after trial, so that it gets no more work. Pure: it only hears and answers.

A failing trial returns at once and its worker takes the next one, so a single sick GPU would fail
most of a study within minutes. Whether the GPU or the trial is at fault shows when the trial is
tried again elsewhere.
"""

from collections import defaultdict
from dataclasses import dataclass, field

_IN_A_ROW = 2
"""Failures in a row, and none elsewhere meanwhile, after which a GPU gets no more work."""
_TRIES = 3
"""Most tries of a trial, wherever they were."""


@dataclass(frozen=True)
class Verdict:
    """What follows from a failure."""

    again: bool
    """Whether the trial is tried again; else it has failed."""
    notes: tuple[str, ...] = ()
    """What the user is told."""


@dataclass
class GpuHealth:
    """The failures of trials by GPU, of one machine."""

    most: int
    """Most GPUs that may be retired: the others must have a place for what is left."""
    over: bool = False
    """Whether the study has nothing left to run."""
    _retired: dict[str, list[int]] = field(default_factory=dict)
    """GPUs without work, each with the trials that speak against it."""
    _tried: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Where each trial has failed."""
    _row: list[tuple[str, int]] = field(default_factory=list)
    """GPU and trial of the last failures in a row, all on one GPU."""

    @property
    def retired(self) -> list[str]:
        """GPUs that get no work."""
        return [*self._retired]

    def holds(self, gpu: str) -> bool:
        """Whether the workers of a GPU take no trial and wait."""
        return gpu in self._retired and not self.over

    def passed(self, gpu: str | None) -> None:
        """A trial has ended well on a GPU, or on a core."""
        self._row = [failure for failure in self._row if failure[0] != gpu]

    def failed(self, gpu: str, trial: int) -> Verdict:
        """A trial has failed on a GPU, for another reason than that it diverged.

        A trial that fails on two GPUs is itself at fault: it has failed, and no longer speaks
        against the other one.
        """
        if elsewhere := [other for other in self._tried[trial] if other != gpu]:
            self._row = []
            return Verdict(False, tuple(self._reinstate(elsewhere, gpu, trial)))
        if gpu in self._retired:  # The trial was on its way there.
            return Verdict(True)
        if len(self._retired) >= self.most:
            return Verdict(False)
        self._tried[trial].append(gpu)
        self._row = [failure for failure in self._row if failure[0] == gpu] + [(gpu, trial)]
        if len(self._row) >= _IN_A_ROW:
            self._retired[gpu] = [number for _, number in self._row]
            self._row = []
            return Verdict(True, (_retired(gpu, self._retired[gpu]),))
        return Verdict(len(self._tried[trial]) < _TRIES)

    def _reinstate(self, gpus: list[str], gpu: str, trial: int) -> list[str]:
        """Give work again to the GPUs that too few trials speak against without this one."""
        notes = []
        for other in [name for name in dict.fromkeys(gpus) if name in self._retired]:
            against = [number for number in self._retired[other] if number != trial]
            self._retired[other] = against
            if len(against) < _IN_A_ROW:
                del self._retired[other]
                notes.append(f"GPU {other} gets work again: the trial fails on GPU {gpu} as well")
        return notes


def _retired(gpu: str, trials: list[int]) -> str:
    numbers = " and ".join(map(str, dict.fromkeys(trials)))
    which = f"trials {numbers}" if len(set(trials)) > 1 else f"trial {numbers} twice"
    return (
        f"GPU {gpu} gets no more work: {which} failed there in a row, and none elsewhere "
        "meanwhile; they are tried on the other GPUs"
    )
