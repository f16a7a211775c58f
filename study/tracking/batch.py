"""What waits to be sent to a run of MLflow, in pieces that a server takes."""

from collections.abc import Iterator
from typing import Any

from mlflow.entities import Metric, Param, RunTag

# The server takes at most 1,000 metrics and 100 params in a batch, and 6,000 characters a param.
_MOST_METRICS, _MOST_PARAMS, _LONGEST_PARAM = 1000, 100, 6000


class Batch:
    """What waits to be sent to one run."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self.params: dict[str, Any] = {}
        self.tags: dict[str, str] = {}
        self.files: list[str] = []
        self.ends: tuple[str, float] | None = None
        """MLflow's word for how it ended, and when."""
        self.model: str | None = None
        """Folder of the winner's weights."""

    def add(self, values: dict[str, float], step: int, at: float) -> None:
        """Add metrics of one step."""
        self.metrics += [Metric(name, value, in_ms(at), step) for name, value in values.items()]

    def parts(self) -> Iterator[tuple[list[Metric], list[Param], list[RunTag]]]:
        """Cut into what a server takes at once."""
        metrics = self.metrics
        told = [Param(name, _text(value)[:_LONGEST_PARAM]) for name, value in self.params.items()]
        marks = [RunTag(name, _text(value)) for name, value in self.tags.items()]
        while metrics or told or marks:
            few = told[:_MOST_PARAMS]
            # Everything together may be at most as much as the metrics alone.
            some = metrics[: _MOST_METRICS - len(few) - len(marks)]
            yield some, few, marks
            metrics, told, marks = metrics[len(some) :], told[len(few) :], []


def _text(value: Any) -> str:
    """As text that databases take: names of files may hold bytes that are no UTF-8."""
    return str(value).encode(errors="backslashreplace").decode()


def in_ms(at: float) -> int:
    """A time in seconds as MLflow takes it."""
    return int(at * 1000)
