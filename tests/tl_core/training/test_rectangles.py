"""Which trials of a sweep are one computation."""

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from tests.support.core.trials import CPU, Trials
from tl_core.aux_task import AuxTask
from tl_core.data.given.aux_labels import AuxLabels
from tl_core.data.splits import Split
from tl_core.inputs.features import load_features
from tl_core.training import rectangles as module
from tl_core.training import setup
from tl_core.training.rectangles import rectangles
from tl_core.training.setup import Inputs, TrialSetup
from tl_core.training.sweep import run_sweep

ROOM = 120_000


def test_features_are_read_once_for_each_network(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Mock(wraps=load_features)
    monkeypatch.setattr(setup, "load_features", load)
    inputs = Inputs(trials.images, trials.cache, CPU)
    cases: list[tuple[dict[str, Any], int]] = [({}, 1), ({"weights": "none"}, 3)]
    for given, times in cases:
        configs = [trials.config("freeze", seed=seed, aux_weight=weight, **given)
                   for seed, weight in ((0, 0.5), (1, "auto"), (2, 0.5))]  # fmt: skip
        found = run_sweep(configs, inputs)
        assert load.call_count == times
        load.reset_mock()
        for config, one in zip(configs, found, strict=True):
            (alone,) = run_sweep([config], inputs)
            log_loss = alone.history[-1].val_log_loss
            assert one.history[-1].val_log_loss == pytest.approx(log_loss, abs=1e-5)
        load.reset_mock()


@pytest.mark.parametrize(
    ("n_train", "n_val", "n_test", "widths"),
    [
        # 1 logit and 3 auxiliary ones. The network has 256 features: 120,000 / (4 * 256) = 117.
        (8, 9, 10, [117, 3]),
        (8, 400, 10, [75, 45]),
        (8, 9, 600, [50, 50, 20]),
        # A pass is 100 batches of 8 images and 8 without a class label.
        (800, 9, 10, [18, 18, 18, 18, 18, 18, 12]),
    ],
)
def test_all_outputs_of_a_computation_have_room(
    trials: Trials,
    monkeypatch: pytest.MonkeyPatch,
    n_train: int,
    n_val: int,
    n_test: int,
    widths: list[int],
) -> None:
    monkeypatch.setattr(module, "_MOST_NUMBERS", ROOM)
    split = Split(*map(np.arange, (n_train, n_val, n_test)))
    monkeypatch.setattr(TrialSetup, "split", lambda setup, seed: split)
    labels = np.arange(len(trials.images.labels)) % 3
    coat = AuxLabels(AuxTask("coat", "classification", ("a", "b", "c")), labels)
    inputs = Inputs(replace(trials.images, own_aux=coat), trials.cache, CPU)
    config = trials.config("freeze", aux="coat", aux_on="all", batch_size=8, aux_weight=0.5)
    first = TrialSetup(config, inputs)
    first._known_others[0] = np.arange(8)
    assert first.backbone.n_features == 256
    found = rectangles([config] * 120, first)
    assert [len(trials) for rectangle in found for trials in rectangle.values()] == widths
