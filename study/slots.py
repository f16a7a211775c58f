"""How many trials run at once, and what each asks Ray for."""

import math

from study.settings import Settings


def full_slots(gpus: int, trials_per_gpu: int, cpus: int) -> int:
    """Trials that train a whole network at once: `trials_per_gpu` a GPU, else one a core."""
    return gpus * trials_per_gpu or cpus


def resources(mode: str, gpus: int, trials_per_gpu: int, cpus: int) -> dict[str, float]:
    """What one trial asks for.

    A frozen trial takes the sliver that each full-network trial leaves of its share of the
    cores: heads on cached features are small, and need not wait until a network has learned.
    """
    slots = full_slots(gpus, trials_per_gpu, cpus)
    share = min(1.0, cpus / slots)
    # Small enough that no further full-network trial fits on the cores.
    sliver = _floor(share / (slots + 2))
    if mode == "freeze":
        return {"CPU": sliver}
    full = {"CPU": _floor(share - sliver)}
    return full | {"GPU": 1 / trials_per_gpu} if gpus else full


def most_at_once(settings: Settings, gpus: int, cpus: int) -> int:
    """Every slot for full-network trials, and some frozen trials beside them.

    On a CPU at most a quarter of the trials: the rest shall learn from those.
    """
    slots = full_slots(gpus, settings.trials_per_gpu, cpus)
    if gpus:
        return 2 * slots
    mixed = "freeze" in settings.mode and len(settings.mode) > 1
    return min(slots, max(2, settings.trials // 4)) + (max(1, slots // 2) if mixed else 0)


def _floor(cpus: float) -> float:
    """Ray counts in steps of 1/10,000."""
    return math.floor(1e4 * cpus + 1e-6) / 1e4
