"""Which trials of a sweep are one computation: stacks with as many trials for each seed."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tl_core.config import TrialConfig
from tl_core.training.schedule import Budget
from tl_core.training.setup import TrialSetup

_MOST_NUMBERS = 2**26
"""Weights of stacked heads, or their outputs between two reports, on the validation or on the test
set, in one computation: 256 MB each."""

Rectangle = dict[int, list[int]]
"""By seed: the numbers of the trials that have it, as many for each seed."""


def _most_heads(setup: TrialSetup) -> int:
    """How many heads one computation has room for."""
    seed, n_classes = setup.config.seed, len(setup.inputs.images.classes)
    split = setup.split(seed)
    budget = Budget.of(setup.config, len(split.train))
    n_trained = len(budget.part(1)) * (budget.full_batch + setup.n_extra([seed]))
    rows = max(setup.backbone.n_features, n_trained, len(split.val), len(split.test))
    n_outputs = (1 if n_classes == 2 else n_classes) + setup.task.n_outputs
    return max(1, _MOST_NUMBERS // (n_outputs * rows))


def rectangles(configs: Sequence[TrialConfig], setup: TrialSetup) -> Iterator[Rectangle]:
    """Split trials into groups in which each seed has as many trials, and there is room for all.

    The largest subset of a trial's seeds decides its steps, and the smallest pool of images without
    a class label how many of them each step sees. With groups of images, or few auxiliary labels,
    they differ from trial to trial, and then these are apart; so are those that see none of them,
    as the task has no weight.
    """
    most = _most_heads(setup)
    blocks: dict[tuple[bool, bool, int | None, int, int], list[int]] = defaultdict(list)
    for number, c in enumerate(configs):
        # A network of random weights is drawn by the trial's first seed.
        network = c.seed if c.weights == "none" else None
        others = c.aux_on == "all" and c.aux_weight != 0
        blocks[c.aux_weight == "auto", others, network, c.seed, c.seeds].append(number)
    unfinished: dict[tuple[bool, bool, int | None, int, int, int], Rectangle] = {}
    for (auto, others, network, first, n), trials in blocks.items():
        width, seeds = max(1, most // n), range(first, first + n)
        steps_from, n_extra = setup.n_train(seeds), setup.n_extra(seeds) if others else 0
        for some in (trials[i : i + width] for i in range(0, len(trials), width)):
            key = (auto, others, network, len(some), steps_from, n_extra)
            there = unfinished.setdefault(key, {})
            if there and (there.keys() & {*seeds} or (len(there) + n) * len(some) > most):
                yield unfinished.pop(key)
            unfinished.setdefault(key, {}).update(dict.fromkeys(seeds, some))
    yield from unfinished.values()
