"""How many steps a trial takes, which batch each step sees, and at which learning rate."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tl_core.config import Schedule, TrialConfig
from tl_core.inputs.batches import split_batches

WARM_UP = 0.1
"""Share of the steps over which `cosine` rises."""


Batch = tuple[int, np.ndarray, float]
"""A step, from 0; its views [B] or [S, B]; and its share of the highest learning rate."""


@dataclass(frozen=True)
class Budget:
    """The steps of one trial, which reports after equal parts of them.

    It makes max(`epochs`, ceil(`min_steps` / steps a pass)) whole passes. Passes alone would give a
    small subset few steps: BiT-HyperRule takes at least 500 (Kolesnikov et al., ECCV 2020,
    section 3.3).
    """

    pass_steps: int
    """Steps in one pass over the training subset."""
    passes: int
    reports: int
    schedule: Schedule
    batch_size: int
    full_batch: int
    """Images of the first batch of a pass: `batch_size`, unless there are about as few images."""

    @classmethod
    def of(cls, config: TrialConfig, n_images: int) -> "Budget":
        """The budget of a configuration with `n_images` training images."""
        size = config.batch_size
        batches = list(split_batches(np.empty(n_images), size))
        passes = max(config.epochs, math.ceil(config.min_steps / len(batches)))
        return cls(len(batches), passes, config.epochs, config.schedule, size, len(batches[0]))

    @property
    def steps(self) -> int:
        """All steps."""
        return self.pass_steps * self.passes

    def part(self, report: int) -> range:
        """The steps, from 0, after report number `report` - 1 and up to `report`."""
        before, after = (k * self.steps // self.reports for k in (report - 1, report))
        return range(before, after)

    def batches(
        self, report: int, order: Callable[[int], np.ndarray], skip: int = 0
    ) -> Iterator[Batch]:
        """Yield the batches of the steps before a report.

        Args:
            report: the steps before which report, from 1.
            order: gives the views of a pass, from 1, in order, [n] or [S, n].
            skip: how many of these steps were taken before.
        """
        left = self.part(report)[skip:]
        for number, steps in groupby(left, lambda step: step // self.pass_steps):
            batches = list(split_batches(order(number + 1), self.batch_size))
            for step in steps:
                share = rate(self.schedule, step, self.steps)
                yield step, batches[step % self.pass_steps], share


def rate(schedule: Schedule, step: int, steps: int) -> float:
    """Learning rate of a step, from 0, as a share of the highest one.

    `cosine` rises linearly over the first `WARM_UP` of the steps and falls to almost 0 (Loshchilov
    and Hutter, ICLR 2017, equation 5, without restarts).
    """
    if schedule == "constant":
        return 1.0
    rise = round(WARM_UP * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2
