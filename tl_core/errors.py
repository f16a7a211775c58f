"""The errors that a user can mend, and the one that a trial ends with."""

from collections.abc import Iterable, Iterator


class InputError(ValueError):
    """What was asked for can't be done; `faults` holds every reason, told together."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))

    def __reduce__(self) -> tuple[type["InputError"], tuple[object]]:
        return (InputError, (self.faults,))


class DivergedError(RuntimeError):
    """Training left the finite numbers; the message names the metric and the epoch."""


def few(faults: Iterable[str], most: int = 20) -> Iterator[str]:
    """Yield the first `most` of faults of one kind, and how many more there are."""
    told = list(faults)
    yield from told[:most]
    if len(told) > most:
        yield f"and {len(told) - most} more"
