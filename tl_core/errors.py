"""The errors that a user can correct, and those that end a trial."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One reason why something that was asked for can't be done."""

    flag: str | None
    """The setting at fault, such as `--lr`; None if it is none, or several."""
    message: str
    """The value, the rule that it breaks and the way out; it follows the flag."""

    def __str__(self) -> str:
        return f"{self.flag} {self.message}" if self.flag else self.message


class InputError(ValueError):
    """What was asked for can't be done; `faults` holds every reason.

    A fault that no flag is to blame for may be given as text.
    """

    def __init__(self, faults: Iterable[Fault | str]) -> None:
        self.faults = tuple(f if isinstance(f, Fault) else Fault(None, f) for f in faults)
        super().__init__("\n".join(map(str, self.faults)))

    def __reduce__(self) -> tuple[type["InputError"], tuple[object]]:
        return (InputError, (self.faults,))


class DivergedError(RuntimeError):
    """Training left the finite numbers; the message names the metric and the epoch."""

    def __init__(self, metric: str, value: float, epoch: int) -> None:
        self.metric, self.value, self.epoch = metric, value, epoch
        super().__init__(f"{metric} is {value} in epoch {epoch}")

    def __reduce__(self) -> tuple[type["DivergedError"], tuple[str, float, int]]:
        return (DivergedError, (self.metric, self.value, self.epoch))


class OutOfTimeError(Exception):
    """The time that there was for the work, until `end` or for `--max-time`, is over."""


class GpuMemoryError(RuntimeError):
    """A trial needs more memory than the GPU has left; the message says what would fit."""


WAYS_OUT = "a smaller --image-size or --backbone, or fewer --trials-per-gpu"
"""What takes less memory of a GPU, whatever the batch size."""


def first_line(error: BaseException) -> str:
    """The first line of an error, else its type: those of torch and CUDA end with boilerplate."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_a_line(error: BaseException) -> str:
    """The type of an error and its first line, if it has one."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


MOST_LISTED = 20
"""Faults of one kind that are shown."""


def truncate_list(faults: Iterable[str], most: int = MOST_LISTED) -> Iterator[str]:
    """Yield the first `most` of faults of one kind, and how many more there are."""
    listed = list(faults)
    yield from listed[:most]
    if len(listed) > most:
        yield f"and {len(listed) - most} more"
