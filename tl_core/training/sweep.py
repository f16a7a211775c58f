"""Frozen trials, many at once: heads on cached features, stacked over configurations and seeds.

The heads of one seed see the same images in the same order whatever their learning rate. So trials
that differ in learning rate, auxiliary weight and seeds are one batched computation.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from tl_core.config import EpochMetrics, TrialConfig
from tl_core.errors import DivergedError
from tl_core.inputs.batches import stacked_order
from tl_core.linear.probe import AuxRows, Probe, solve_probe
from tl_core.models.heads import Heads, HeadStack
from tl_core.objectives.outputs import Outputs
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import Weighting, make_weighting
from tl_core.training.fit import (
    Scores,
    StackReport,
    as_metrics,
    as_table,
    fit_stack,
    history_of,
    join_reports,
    score,
    score_test,
)
from tl_core.training.learners.stack import StackLearner
from tl_core.training.memory import OF_HEADS, retry_with_room
from tl_core.training.rectangles import Rectangle, rectangles
from tl_core.training.schedule import Budget
from tl_core.training.setup import Inputs, TrialSetup

EVAL_ROWS = 8192
"""Rows of features that stacked heads score at once."""
_MAY_DIFFER = {"lr", "aux_weight", "seed", "seeds"}


@dataclass(frozen=True)
class SweepResult:
    """One trial of a sweep, finished or diverged."""

    history: tuple[EpochMetrics, ...]
    test: dict[str, float]
    """`test_accuracy` and the other test scores; empty unless the test set was read."""
    outputs: dict[str, Outputs]
    """On `val` and `test`, [S, ...] of S > 1 seeds; empty unless the test set was read."""
    error: DivergedError | None
    make_heads: Callable[[], Heads]
    """Gives those of the trial's first seed, which only a winner needs."""


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
        GpuMemoryError: the GPU's memory is too small for all of them at once.
    """
    if len({c.model_dump_json(exclude=_MAY_DIFFER) for c in configs}) > 1:
        raise ValueError(f"configurations of a sweep may differ in {sorted(_MAY_DIFFER)} alone")
    first = TrialSetup(configs[0], inputs)
    sweep = partial(sweep_from, first, configs, read_test)
    return retry_with_room(sweep, inputs.device, what=OF_HEADS)


def sweep_from(
    first: TrialSetup, configs: Sequence[TrialConfig], read_test: bool = False
) -> list[SweepResult]:
    """As `run_sweep`, from what the first trial starts from."""
    run = _solve if first.config.mode == "probe" else _train
    results: dict[int, SweepResult] = {}
    for rectangle in rectangles(configs, first):
        setup = first.of(configs[next(iter(rectangle.values()))[0]])
        results |= run(configs, rectangle, setup, read_test)
    return [results[number] for number in range(len(configs))]


class _Fitted(NamedTuple):
    """The stacked heads of some seeds, trained."""

    stack: HeadStack
    scale: TargetScale
    reports: list[StackReport]
    scores: Scores
    """On the test set, if it was read, as `outputs`."""
    outputs: dict[str, Outputs]


def _train(
    configs: Sequence[TrialConfig], rectangle: Rectangle, setup: TrialSetup, read_test: bool
) -> dict[int, SweepResult]:
    """Train the stacked heads of a rectangle of trials in mode `freeze`."""
    heads = {seed: setup.heads(seed) for seed in rectangle}  # Here, as threads share the generator.
    _ = setup.rows  # Read once, for all threads.
    n = min(setup.inputs.threads, len(rectangle))
    # All of the rectangle decide these, since a trial's seeds may be in several parts.
    trials = {number for numbers in rectangle.values() for number in numbers}
    learned = any(configs[number].aux_weight != 0 for number in trials)
    n_train, n_extra = setup.n_train([*rectangle]), setup.n_extra([*rectangle]) if learned else 0
    parts = [{int(s): rectangle[s] for s in some} for some in np.array_split([*rectangle], n)]
    with ThreadPoolExecutor(n) as pool:
        fit = partial(_fit, configs, setup, heads, (n_train, n_extra), read_test)
        fitted = [*pool.map(fit, parts)]
    owners = [number for trials in rectangle.values() for number in trials]
    where = [(part, i) for part in fitted for i in range(part.stack.n_heads)]
    reports = join_reports([part.reports for part in fitted])
    scores = {name: torch.cat([p.scores[name] for p in fitted]) for name in fitted[0].scores}
    outputs = {
        name: Outputs(*map(torch.cat, zip(*(p.outputs[name] for p in fitted), strict=True)))
        for name in fitted[0].outputs
    }
    results = {}
    for number in dict.fromkeys(owners):
        own = [i for i, owner in enumerate(owners) if owner == number]
        history, error = history_of(reports, own)
        part, first = where[own[0]]
        results[number] = SweepResult(
            history,
            {name: value[own].mean().item() for name, value in scores.items()},
            {name: found.of(own) for name, found in outputs.items()},
            error,
            partial(_copy, setup, part.stack, part.scale, first),
        )
    return results


def _fit(
    configs: Sequence[TrialConfig],
    setup: TrialSetup,
    heads: dict[int, Heads],
    sizes: tuple[int, int],
    read_test: bool,
    part: Rectangle,
) -> _Fitted:
    """Train the heads of a part of a rectangle, some of its seeds.

    `sizes` are those that decide how many steps there are, and how many images without a class
    label a step sees (`TrialSetup.n_train`, `TrialSetup.n_extra`).
    """
    owners = [configs[number] for trials in part.values() for number in trials]
    device = setup.inputs.device
    stack = HeadStack([heads[seed] for seed, trials in part.items() for _ in trials], len(part))
    weighting = make_weighting([c.aux_weight for c in owners], device, setup.task.kind)
    scale = setup.scale([*part]).each(len(owners) // len(part))
    learner = _learner(setup, [*part], stack, weighting, scale, *sizes)
    split = setup.split(setup.config.seed)
    rates = [config.lr for config in owners if config.lr is not None]
    reports = fit_stack(learner, split, setup.config, rates)
    return _Fitted(stack, scale, reports, *(score_test(learner, split) if read_test else ({}, {})))


def _solve(
    configs: Sequence[TrialConfig], rectangle: Rectangle, setup: TrialSetup, read_test: bool
) -> dict[int, SweepResult]:
    """Solve the probes of a rectangle of trials; those of a seed are the same."""
    start = time.perf_counter()
    probe, stack = solve_heads(setup, [*rectangle])
    seconds = time.perf_counter() - start
    scale = TargetScale.raw(len(rectangle), setup.inputs.device)
    n_train = setup.n_train([*rectangle])
    learner = _learner(setup, [*rectangle], stack, Weighting(0.0), scale, n_train)
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
            (metrics,), tested, kept, None, partial(_copy, setup, stack, scale, own[0])
        )
    return results


def solve_heads(setup: TrialSetup, seeds: Sequence[int]) -> tuple[Probe, HeadStack]:
    """Return the probes of some seeds, and heads that hold them."""
    data, trains = setup.inputs, [setup.split(seed).train for seed in seeds]
    val, aux = setup.split(seeds[0]).val, data.images.aux
    taught = [setup.teaching(seed) for seed in seeds]
    second = AuxRows(setup.task, taught, val[aux.known[val]])
    n_classes, weights = len(data.images.classes), setup.class_weights(seeds)
    probe = solve_probe(setup.rows, *data.targets(), trains, val, n_classes, weights, second)
    stack = HeadStack([setup.heads(seed) for seed in seeds], len(seeds)).to(data.device)
    stack.fill(probe.weight, probe.bias)
    return probe, stack


def _learner(
    setup: TrialSetup,
    seeds: Sequence[int],
    stack: HeadStack,
    weighting: Weighting,
    scale: TargetScale,
    n_train: int,
    n_extra: int = 0,
) -> StackLearner:
    trains = [setup.split(seed).train for seed in seeds]
    order = partial(stacked_order, trains, seeds, mirror=setup.mirror, at_least=n_train)
    budget = Budget.of(setup.config, n_train)
    targets, stack = setup.inputs.targets(), stack.to(setup.inputs.device)
    data = (*targets, scale, weighting, order, budget, EVAL_ROWS, setup.rows)
    weights = setup.class_weights(seeds)
    return StackLearner(stack, *data, class_weights=weights, **setup.auxiliary(seeds, n_extra))


def _copy(setup: TrialSetup, stack: HeadStack, scale: TargetScale, number: int) -> Heads:
    heads = setup.heads(0)
    stack.copy_to(heads, number)
    TargetScale(scale.mean[number], scale.spread[number]).out_of(heads)
    return heads
