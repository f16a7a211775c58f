"""Trials on images that come in groups, of which seeds train on different numbers of images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.core.trials import CPU, Trials
from tl_core.config import Mode
from tl_core.data.splitting.rules import SplitRules
from tl_core.inputs.batches import epoch_order, stacked_order
from tl_core.objectives.losses import balanced_weights
from tl_core.training.setup import Inputs, TrialSetup
from tl_core.training.sweep import run_sweep


@pytest.fixture
def grouped(trials: Trials) -> Trials:
    """Groups of one, two and three images, in both classes."""
    n = len(trials.images.labels)
    groups = np.repeat(np.arange(n), np.resize([1, 3, 2], n))[:n]
    images = replace(trials.images, rules=SplitRules(groups=groups.astype(np.int64), by="patient"))
    return Trials(images, trials.cache, Path(trials.weights))


def sizes(trials: Trials, seeds: range) -> list[int]:
    return [len(trials.images.split(0.4, 0, seed).train) for seed in seeds]


@pytest.mark.parametrize("mode", ["freeze", "probe"])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_seeds_of_different_sizes_train_together(
    grouped: Trials, mode: Mode, class_weights: str
) -> None:
    assert len(set(sizes(grouped, range(8)))) > 1
    inputs = Inputs(grouped.images, grouped.cache, CPU)
    given = {"train_ratio": 0.4, "class_weights": class_weights}
    configs = [grouped.config(mode, seed=0, seeds=8, **given)]
    configs += [grouped.config(mode, seed=seed, **given) for seed in (0, 1, 2, 3)]
    together = run_sweep(configs, replace(inputs, threads=3), read_test=True)
    assert [found.error for found in together] == [None] * len(configs)
    for config, found in zip(configs, together, strict=True):
        (alone,) = run_sweep([config], inputs, read_test=True)
        assert found.test == pytest.approx(alone.test, abs=1e-4)
        for name, outputs in found.outputs.items():
            torch.testing.assert_close(outputs, alone.outputs[name], rtol=1e-3, atol=1e-4)
        value, expected = found.history[-1].val_log_loss, alone.history[-1].val_log_loss
        assert value == pytest.approx(expected, abs=1e-4)


def test_a_trial_takes_the_same_steps_whatever_the_threads(grouped: Trials) -> None:
    n = sizes(grouped, range(40))
    first = next(i for i in range(39) if n[i] != n[i + 1])
    inputs = Inputs(grouped.images, grouped.cache, CPU)
    config = grouped.config("freeze", train_ratio=0.4, seed=first, seeds=2, batch_size=1)
    one, two = (run_sweep([config], replace(inputs, threads=n))[0] for n in (1, 2))
    for found, expected in zip(two.history, one.history, strict=True):
        assert found.step == expected.step
        assert found.val_log_loss == pytest.approx(expected.val_log_loss, abs=1e-5)
        assert found.train_loss == pytest.approx(expected.train_loss, abs=1e-5)


def test_each_seed_has_its_own_class_weights(grouped: Trials) -> None:
    inputs = Inputs(grouped.images, grouped.cache, CPU)
    config = grouped.config("freeze", train_ratio=0.4, class_weights="balanced")
    setup = TrialSetup(config, inputs)
    found = setup.class_weights(range(8))
    assert found is not None
    for seed, weights in enumerate(found):
        own = inputs.targets()[0][setup.split(seed).train]
        assert weights.tolist() == balanced_weights(own, 2).tolist()
        assert weights[own].mean().item() == pytest.approx(1)
    assert len({tuple(w) for w in found.tolist()}) > 1


def test_sweeps_of_one_study_share_their_splits(grouped: Trials) -> None:
    inputs = Inputs(grouped.images, grouped.cache, CPU)
    one, two = (
        TrialSetup(grouped.config("freeze", train_ratio=0.4, seed=s), inputs) for s in (0, 1)
    )
    assert one.split(1) is two.split(1)


def test_a_shorter_pass_begins_again() -> None:
    trains = [np.array([1, 2, 3]), np.array([4, 5])]
    long, short = stacked_order(trains, [0, 1], 1)
    assert long.tolist() == epoch_order(trains[0], 0, 1).tolist()
    own = epoch_order(trains[1], 1, 1).tolist()
    assert short.tolist() == [*own, own[0]]
