"""How many trials run at once in workers, and what each asks Ray for."""

import math
from dataclasses import dataclass
from typing import Self

from study.config.settings import Settings


@dataclass(frozen=True)
class Capacity:
    """Places for networks that learn; a sweep of frozen trials that is long takes one as well."""

    full: int
    """Places: `trials_per_gpu` a GPU, else one a core; `--jobs`, or the memory, may allow fewer."""
    cpus: int
    trials_per_gpu: int
    """0 without a GPU."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        gpus: int,
        cpus: int,
        held: int | None = None,
        per_gpu: int | None = None,
    ) -> Self:
        """The places of a study.

        Args:
            settings: of the study.
            gpus: that it uses.
            cpus: the cores that trials can count on, `study.cluster.resources.Resources.cpus_for`.
            held: networks that the memory holds, if it is known; `--jobs` goes before.
            per_gpu: what `--trials-per-gpu auto` has found; None, before it has, counts as 1.
        """
        asked = settings.trials_per_gpu
        share = (per_gpu or 1) if asked == "auto" else asked
        share = share if gpus else 0
        places = gpus * share or cpus
        return cls(min(places, settings.jobs or held or places), cpus, share)

    def resources(self) -> dict[str, float]:
        """What a place asks Ray for, which counts in steps of 1/10,000."""
        cpu = {"CPU": math.floor(1e4 * min(1.0, self.cpus / self.full) + 1e-6) / 1e4}
        return cpu | {"GPU": 1 / self.trials_per_gpu} if self.trials_per_gpu else cpu

    def searching(self, settings: Settings) -> int:
        """Places that the search uses: all, as long as there are GPUs, or `--jobs`.

        On cores it is three, or a quarter of its trials: the rest of them learn from those.
        """
        few = not (self.trials_per_gpu or settings.jobs)
        return min(self.full, max(3, settings.trials // 4)) if few else self.full
