"""How much work a trial is, and how short it must be for the driver to do it itself."""

from typing import NamedTuple

from study.search.queue import BATCH
from tl_core.config import TrialConfig
from tl_core.data.splitting.rules import PartSizes
from tl_core.training.schedule import Budget

SHORT_S = 2.0
"""Longest sweep that the driver makes, seconds: Ray Tune's loop waits meanwhile."""
SOON_S = 10.0
"""Longest that the driver runs a frozen network with all its cores, seconds: about what workers
take to start."""
PER_S = 4e9
"""Products (see `products`) a second on one core: 4 to 5 of 10**9 on an AMD EPYC, at 512 and 1,280
features, 2 to 37 classes."""
_PROBE_PASSES = 500
"""Passes over its training images that a probe is worth, all penalties together. On 240 to 1,920
images of noise it took 0.5 to 5 times as long, the longer the fewer there were."""


class Shape(NamedTuple):
    """The size of a frozen trial's data."""

    images: PartSizes
    classes: int
    features: int
    """Of an image."""


def is_short(config: TrialConfig, shape: Shape) -> bool:
    """Whether a full batch of such trials takes a core `SHORT_S` at most.

    The probes of a cell are all the same, so they are solved once. It depends on no other trial, so
    that a trial that is repeated alone gets the same device. With
    random weights each seed has a network of its own, whose features take longer.
    """
    batch = 1 if config.mode == "probe" else BATCH
    return config.weights != "none" and batch * products(config, shape) / PER_S <= SHORT_S


def products(config: TrialConfig, shape: Shape) -> float:
    """How many products of a feature and a weight a frozen trial takes, there and back once each.

    A sweep's time is proportional to them, with all else that it does.
    """
    n_train = round(config.train_ratio * shape.images.base)
    n_logits = shape.classes if shape.classes > 2 else 1
    everywhere = shape.images.unheld if config.aux_on == "all" else 0
    if config.mode == "probe":  # With few images it is solved in their span.
        sizes = [n_train] * n_logits + [max(n_train, everywhere)]
        each = _PROBE_PASSES * sum(n * min(n, shape.features) for n in sizes)
        return float(config.seeds * each)
    batch = min(config.batch_size, n_train)
    batch += min(config.batch_size, max(0, everywhere - n_train))
    seen = Budget.of(config, n_train).steps * batch
    once = (seen + config.epochs * shape.images.val) * shape.features
    return float(config.seeds * once * (1 + n_logits))


def seen_in_steps(config: TrialConfig, n_train: int, n_all: int) -> int:
    """How many images the steps of a network see, each as often as it comes.

    `n_train` are its training images, `n_all` these and the others that teach the auxiliary task.
    """
    budget = Budget.of(config, n_train)
    seen = budget.passes * n_train
    if config.aux_on == "all" and config.aux_weight != 0:
        seen += budget.steps * min(config.batch_size, max(0, n_all - n_train))
    return seen
