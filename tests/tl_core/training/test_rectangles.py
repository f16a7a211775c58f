"""Which trials of a sweep are one computation."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.core.trials import CPU, Trials
from tl_core.aux_task import AuxTask
from tl_core.data.given.aux_labels import AuxLabels
from tl_core.data.splits import Split
from tl_core.training import rectangles as module
from tl_core.training.rectangles import rectangles
from tl_core.training.setup import Inputs, Setup

ROOM = 120_000


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
    labels = np.arange(len(trials.images.labels)) % 3
    coat = AuxLabels(AuxTask("coat", "classification", ("a", "b", "c")), labels)
    inputs = Inputs(replace(trials.images, own_aux=coat), trials.cache, CPU)
    config = trials.config("freeze", aux="coat", aux_on="all", batch_size=8, aux_weight=0.5)
    setup = Setup(config, inputs)
    setup._splits[0] = Split(*map(np.arange, (n_train, n_val, n_test)))
    setup._known_others[0] = np.arange(8)
    assert setup.backbone.n_features == 256
    found = rectangles([config] * 120, setup)
    assert [len(trials) for rectangle in found for trials in rectangle.values()] == widths
