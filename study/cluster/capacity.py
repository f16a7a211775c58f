"""How many trials run at once, and what each asks Ray for."""

import math
from dataclasses import dataclass
from typing import Self

from study.config.settings import Settings


@dataclass(frozen=True)
class Capacity:
    """Places for trials: for networks that learn, and for frozen trials beside them.

    Heads on cached features are small. A frozen trial asks for the sliver that a network leaves of
    its share of the cores, and starts as soon as it is drawn; the searcher limits how many run.
    """

    full: int
    """Networks that learn at once: `trials_per_gpu` a GPU, else one a core."""
    frozen: int
    """Frozen trials at once."""
    cpus: int
    trials_per_gpu: int
    """0 without a GPU."""

    @classmethod
    def of(cls, settings: Settings, gpus: int, cpus: int) -> Self:
        """The places for the modes of a study.

        `cpus` are the cores that trials can count on: `study.cluster.resources.Resources.cpus_for`.
        """
        freeze = "freeze" in settings.mode
        if settings.mode == ("freeze",):
            return cls(0, cpus, cpus, 0)
        full = gpus * settings.trials_per_gpu or cpus
        # Few: a trial that is drawn early has not learned from those that still run.
        frozen = max(1, full // 4)
        return cls(full, frozen if freeze else 0, cpus, settings.trials_per_gpu if gpus else 0)

    def resources(self, mode: str) -> dict[str, float]:
        """What one trial asks Ray for."""
        if not self.full:
            return {"CPU": 1.0}
        share = min(1.0, self.cpus / self.full)
        # So small that no further full-network trial fits on the cores.
        sliver = max(1e-4, _floor(share / (self.full + 2))) if self.frozen else 0.0
        if mode == "freeze":
            return {"CPU": sliver}
        full = {"CPU": _floor(share - sliver)}
        return full | {"GPU": 1 / self.trials_per_gpu} if self.trials_per_gpu else full

    def most_at_once(self, trials: int) -> int:
        """All places; on a CPU three, or a quarter of the trials: the rest learn from those."""
        places = self.full + self.frozen
        return places if self.trials_per_gpu else min(places, max(3, trials // 4))


def _floor(cpus: float) -> float:
    """Ray counts in steps of 1/10,000."""
    return math.floor(1e4 * cpus + 1e-6) / 1e4
