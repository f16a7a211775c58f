"""Labels of a log scale: round numbers, several in every range, and none that touch."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, MaxNLocator

_DENSE = (1, 2, 3, 5, 7)
_ORDER = ((1, 2, 5), (1, 3), (1,))
"""Numbers of each power of ten; the first that fit are taken."""


class RoundNumbers(LogLocator):
    """Finds round numbers; matplotlib's own locator has none between skipped powers of ten."""

    def __init__(self, size: Callable[[float], float]) -> None:
        """`size` is the room of a number's label along the axis, in points."""
        super().__init__()
        self.size = size

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the numbers in this range; see `round_numbers`."""
        assert isinstance(self.axis, Axis)
        axes = self.axis.axes
        figure = axes.get_figure(root=True)
        assert figure
        length = axes.bbox.width if self.axis is axes.xaxis else axes.bbox.height
        low, high = sorted((vmin, vmax))
        return round_numbers(low, high, 72 * length / figure.dpi, self.size)


def round_numbers(
    low: float, high: float, length: float, size: Callable[[float], float]
) -> list[float]:
    """Return three round numbers or more between two numbers; two if three would touch.

    `length` is that of the axis, and `size` the room of a number's label along it, in one unit.
    """

    def fit(row: Sequence[float]) -> bool:
        scale = length / math.log(high / low)
        return all(scale * math.log(b / a) >= (size(a) + size(b)) / 2 for a, b in pairwise(row))

    rows = [[x for x in row if low <= x <= high] for row in _rows(low, high)]
    densest = rows[-1]
    of_three = next((row for row in rows if len(row) > 2 and fit(row)), None)
    of_two = next((row for row in rows if len(row) == 2 and fit(row)), None)
    return of_three or of_two or [densest[0], densest[-1]]


def _rows(low: float, high: float) -> Iterator[list[float]]:
    """Yield rows of round numbers, the best first; the last has three of the range or more."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for subs in _ORDER:
        yield [sub * 10.0**power for power in range(first, last + 1) for sub in subs]
    for step in (2, 3, 5, 10, 20, 50, 100):
        yield [10.0**power for power in range(first, last + 1) if power % step == 0]
    yield [sub * 10.0**power for power in range(first, last + 1) for sub in _DENSE]
    if high < 10 * low:  # Between powers of ten a narrow range is almost linear.
        yield list(MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=3).tick_values(low, high))
