"""How many trials run at once in workers, and what each asks Ray for."""

import math
from dataclasses import dataclass
from typing import Self

from study.config.settings import Settings


@dataclass(frozen=True)
class Capacity:
    """Places for networks that learn; a sweep of frozen trials that is long takes one as well."""

    full: int
    """Places: `trials_per_gpu` a GPU, else one a core."""
    cpus: int
    trials_per_gpu: int
    """0 without a GPU."""

    @classmethod
    def of(cls, settings: Settings, gpus: int, cpus: int) -> Self:
        """The places of a study.

        `cpus` are the cores that trials can count on: `study.cluster.resources.Resources.cpus_for`.
        """
        per_gpu = settings.trials_per_gpu if gpus else 0
        return cls(gpus * per_gpu or cpus, cpus, per_gpu)

    def resources(self) -> dict[str, float]:
        """What a place asks Ray for."""
        cpu = {"CPU": _floor(min(1.0, self.cpus / self.full))}
        return cpu | {"GPU": 1 / self.trials_per_gpu} if self.trials_per_gpu else cpu

    def most_at_once(self, trials: int) -> int:
        """All places; on a CPU three, or a quarter of the trials: the rest learn from those."""
        return self.full if self.trials_per_gpu else min(self.full, max(3, trials // 4))


def _floor(cpus: float) -> float:
    """Ray counts in steps of 1/10,000."""
    return math.floor(1e4 * cpus + 1e-6) / 1e4
