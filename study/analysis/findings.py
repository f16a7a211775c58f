"""What the confirming trials of a study tell; each part is computed once."""

from collections.abc import Callable, Iterable
from functools import cached_property

from study.analysis.comparisons import Difference, MultiTask, mode_differences, multi_tasks
from study.analysis.estimates import CellSummary, Confirmed, summarize
from study.analysis.extrapolation import Extrapolation, extrapolate
from study.analysis.label_efficiency import Crossover, LabelsSaved, crossovers, labels_saved
from study.search.cells import Cell
from tl_core.aux_task import BRIGHTNESS, AuxTask
from tl_core.config import Metric, Mode


class Findings:
    """The confirming trials, and what is made of them; `labels` as for `extrapolate`."""

    def __init__(
        self, confirmed: Iterable[Confirmed], labels: Callable[[float], float] = float
    ) -> None:
        self.confirmed = list(confirmed)
        self._labels = labels
        self._differences: dict[str, list[Difference]] = {}
        self._effects: dict[Metric, list[MultiTask]] = {}
        self._crossovers: dict[str, list[Crossover]] = {}
        self._saved: dict[str, list[LabelsSaved]] = {}
        self._beyond: dict[tuple[Mode, str], Extrapolation | None] = {}

    @cached_property
    def cells(self) -> list[CellSummary]:
        """The cells, each with its scores over seeds."""
        return summarize(self.confirmed)

    def differences(self, score: str = "test_accuracy") -> list[Difference]:
        """Return `mode_differences`."""
        if score not in self._differences:
            self._differences[score] = mode_differences(self.confirmed, score)
        return self._differences[score]

    def difference(self, a: Cell, b: Cell, score: str = "test_accuracy") -> Difference | None:
        """Return `a` compared with `b`, whichever way round it is among all."""
        for d in self.differences(score):
            if (d.a, d.b) == (a, b):
                return d
            if (d.b, d.a) == (a, b):
                return -d
        return None

    def crossovers(self, score: str = "test_accuracy") -> list[Crossover]:
        """Return where modes overtake each other."""
        if score not in self._crossovers:
            found = crossovers(self.confirmed, score, self.differences(score))
            self._crossovers[score] = found
        return self._crossovers[score]

    def labels_saved(self, score: str = "test_accuracy") -> list[LabelsSaved]:
        """Return how few labels of one mode match all of another's."""
        if score not in self._saved:
            self._saved[score] = labels_saved(self.confirmed, score)
        return self._saved[score]

    def effects(self, metric: Metric, task: AuxTask = BRIGHTNESS) -> list[MultiTask]:
        """Return `multi_tasks`, of a study's one task."""
        if metric not in self._effects:
            self._effects[metric] = multi_tasks(self.confirmed, metric, task)
        return self._effects[metric]

    def beyond(self, mode: Mode, score: str = "test_accuracy") -> Extrapolation | None:
        """Return what more labels would give a mode."""
        if (mode, score) not in self._beyond:
            found = extrapolate(self.confirmed, mode, self._labels, score)
            self._beyond[mode, score] = found
        return self._beyond[mode, score]
