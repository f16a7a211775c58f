"""Frozen trials, many at once: heads on cached features, stacked over configurations and seeds.

The heads of one seed see the same images in the same order whatever their learning rate. So trials
that differ in learning rate, auxiliary weight and seeds are one batched computation.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from tl_core.config import EpochMetrics, TrialConfig
from tl_core.errors import DivergedError
from tl_core.inputs.batches import stacked_order
from tl_core.linear.probe import Probe, solve_probe
from tl_core.models.heads import Heads, HeadStack
from tl_core.objectives.outputs import Outputs
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import LearnedWeights, Weighting
from tl_core.training.fit import StackFit, as_metrics, as_table, fit_stack, score, score_test
from tl_core.training.learners import StackLearner
from tl_core.training.schedule import Budget
from tl_core.training.setup import Inputs, Setup

EVAL_ROWS = 8192
"""Rows of features that stacked heads score at once."""
_MOST_NUMBERS = 2**26
"""Weights of stacked heads, or logits of a pass, in one computation: 256 MB each."""
_MAY_DIFFER = {"lr", "aux_weight", "seed", "seeds"}

_Rectangle = dict[int, list[int]]
"""By seed: the numbers of the trials that have it, as many for each seed."""


@dataclass(frozen=True)
class SweepResult:
    """One trial of a sweep, finished or diverged."""

    history: tuple[EpochMetrics, ...]
    test: dict[str, float]
    """`test_accuracy` and the other test scores; empty unless the test set was read."""
    outputs: dict[str, Outputs]
    """On `val` and `test`, [S, ...] of S > 1 seeds; empty unless the test set was read."""
    error: DivergedError | None
    heads: Heads
    """Those of the trial's first seed."""


def run_sweep(
    configs: Sequence[TrialConfig], inputs: Inputs, read_test: bool = False
) -> list[SweepResult]:
    """Train frozen trials together; each gets the numbers that it would get alone.

    Args:
        configs: all `freeze` or all `probe`; they differ in `lr`, `aux_weight`, `seed` and `seeds`
            alone.
        inputs: their data.
        read_test: score the test set at the end.

    Returns:
        The result of each configuration, in order.

    Raises:
        ValueError: the configurations differ in more.
        InputError: a class would be missing from a split.
        BackboneError: the backbone is unknown, or its weights are unavailable.
    """
    if len({c.model_dump_json(exclude=_MAY_DIFFER) for c in configs}) > 1:
        raise ValueError(f"configurations of a sweep may differ in {sorted(_MAY_DIFFER)} alone")
    run = _solve if configs[0].mode == "probe" else _train
    results: dict[int, SweepResult] = {}
    for rectangle in _rectangles(configs, Setup(configs[0], inputs)):
        results |= run(configs, rectangle, inputs, read_test)
    return [results[number] for number in range(len(configs))]


def _most_heads(setup: Setup) -> int:
    """How many heads one computation has room for."""
    n_classes, n_train = len(setup.inputs.images.classes), len(setup.split(setup.config.seed).train)
    return max(1, _MOST_NUMBERS // (n_classes * max(setup.backbone.n_features, n_train)))


def _rectangles(configs: Sequence[TrialConfig], setup: Setup) -> Iterator[_Rectangle]:
    """Split trials into groups in which each seed has as many trials, and there is room for all.

    The largest subset of a trial's seeds decides its steps. With groups of images it differs from
    trial to trial, and then they are apart.
    """
    most = _most_heads(setup)
    blocks: dict[tuple[bool, int | None, int, int], list[int]] = defaultdict(list)
    for number, c in enumerate(configs):
        # A network of random weights is drawn by the trial's first seed.
        network = c.seed if c.weights == "none" else None
        blocks[c.aux_weight == "auto", network, c.seed, c.seeds].append(number)
    unfinished: dict[tuple[bool, int | None, int, int], _Rectangle] = {}
    for (auto, network, first, n), trials in blocks.items():
        width = max(1, most // n)
        for some in (trials[i : i + width] for i in range(0, len(trials), width)):
            seeds = range(first, first + n)
            key = (auto, network, len(some), max(len(setup.split(s).train) for s in seeds))
            there = unfinished.setdefault(key, {})
            if there and (there.keys() & {*seeds} or (len(there) + n) * len(some) > most):
                yield unfinished.pop(key)
            unfinished.setdefault(key, {}).update(dict.fromkeys(seeds, some))
    yield from unfinished.values()


def _train(
    configs: Sequence[TrialConfig], rectangle: _Rectangle, inputs: Inputs, read_test: bool
) -> dict[int, SweepResult]:
    """Train the stacked heads of a rectangle of trials in mode `freeze`."""
    owners = [number for trials in rectangle.values() for number in trials]
    config = configs[owners[0]]
    setup = Setup(config, inputs)
    stack = HeadStack([h for s, ts in rectangle.items() for h in [setup.heads(s)] * len(ts)])
    if config.aux_weight == "auto":
        weighting: Weighting = LearnedWeights(len(owners), inputs.device)
    else:
        weights = [float(configs[number].aux_weight) for number in owners]
        weighting = Weighting(torch.tensor(weights, device=inputs.device))
    scale = setup.scale([*rectangle]).each(len(owners) // len(rectangle))
    learner = _learner(setup, [*rectangle], stack, weighting, scale)
    fits = {n: StackFit([i for i, o in enumerate(owners) if o == n]) for n in dict.fromkeys(owners)}
    split = setup.split(config.seed)
    fit_stack(learner, split, [configs[number] for number in fits], [*fits.values()])
    scores, outputs = score_test(learner, split) if read_test else ({}, {})
    return {
        number: SweepResult(
            tuple(fit.history),
            {name: value[fit.heads].mean().item() for name, value in scores.items()},
            {name: found.of(fit.heads) for name, found in outputs.items()},
            fit.error,
            _copy(setup, stack, scale, fit.heads[0]),
        )
        for number, fit in fits.items()
    }


def _solve(
    configs: Sequence[TrialConfig], rectangle: _Rectangle, inputs: Inputs, read_test: bool
) -> dict[int, SweepResult]:
    """Solve the probes of a rectangle of trials; those of a seed are the same."""
    setup = Setup(configs[next(iter(rectangle.values()))[0]], inputs)
    start = time.perf_counter()
    probe, stack = solve_heads(setup, [*rectangle])
    seconds = time.perf_counter() - start
    scale = TargetScale.raw(len(rectangle), inputs.device)
    learner = _learner(setup, [*rectangle], stack, Weighting(0.0), scale)
    split = setup.split(setup.config.seed)
    scores = {f"val_{name}": value for name, value in score(learner, split.val).items()}
    scores |= {"train_loss": probe.train_log_loss, "train_accuracy": probe.train_accuracy}
    test, outputs = score_test(learner, split) if read_test else ({}, {})
    results, (names, values) = {}, as_table(scores)
    for number in {n for trials in rectangle.values() for n in trials}:
        own = [i for i, trials in enumerate(rectangle.values()) if number in trials]
        l2 = probe.l2[own, 0].log().mean().exp().item()
        n_images = len(own) * len(split.train)
        metrics = as_metrics(names, values[:, own], n_images / seconds, 1, None, l2)
        tested = {name: value[own].mean().item() for name, value in test.items()}
        kept = {name: found.of(own) for name, found in outputs.items()}
        results[number] = SweepResult(
            (metrics,), tested, kept, None, _copy(setup, stack, scale, own[0])
        )
    return results


def solve_heads(setup: Setup, seeds: Sequence[int]) -> tuple[Probe, HeadStack]:
    """Return the probes of some seeds, and heads that hold them."""
    data, trains = setup.inputs, [setup.split(seed).train for seed in seeds]
    val = setup.split(seeds[0]).val
    n_classes = len(data.images.classes)
    weights = setup.class_weights(seeds)
    probe = solve_probe(setup.rows, *data.targets(), trains, val, n_classes, class_weights=weights)
    stack = HeadStack([setup.heads(seed) for seed in seeds]).to(data.device)
    with torch.no_grad():
        stack.weight.copy_(probe.weight)
        stack.bias.copy_(probe.bias)
    return probe, stack


def _learner(
    setup: Setup,
    seeds: Sequence[int],
    stack: HeadStack,
    weighting: Weighting,
    scale: TargetScale,
) -> StackLearner:
    trains = [setup.split(seed).train for seed in seeds]
    order = partial(stacked_order, trains, seeds, mirror=setup.mirror)
    budget = Budget.of(setup.config, max(map(len, trains)))
    targets, stack = setup.inputs.targets(), stack.to(setup.inputs.device)
    data = (*targets, scale, weighting, order, budget, EVAL_ROWS, setup.rows)
    return StackLearner(stack, *data, class_weights=setup.class_weights(seeds))


def _copy(setup: Setup, stack: HeadStack, scale: TargetScale, number: int) -> Heads:
    heads = setup.heads(0)
    stack.copy_to(heads, number)
    TargetScale(scale.mean[number], scale.spread[number]).out_of(heads)
    return heads
