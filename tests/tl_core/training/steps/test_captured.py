"""Steps by a graph give what the same steps give without, bit by bit.

Here the graph is a function that takes the step again, over tensors that stay in place, as a graph
on a GPU does.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.core.trials import CPU, changed, state
from tl_core.config import EpochMetrics, TrialConfig
from tl_core.data.splits import make_split
from tl_core.files import LocalFile
from tl_core.inputs.batches import epoch_order
from tl_core.inputs.readers import Gather, Read, Reader
from tl_core.inputs.unlabelled import Unlabelled
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import make_weighting
from tl_core.training.checkpoints import Checkpoint, load_checkpoint
from tl_core.training.fit import fit
from tl_core.training.learners.net import NetLearner
from tl_core.training.optimizers import make_optimizer
from tl_core.training.schedule import Budget
from tl_core.training.steps.captured import CapturedSteps
from tl_core.training.steps.cuda_graph import Work
from tl_core.training.steps.graphs import CaptureWarning, StepGraphs

pytestmark = pytest.mark.usefixtures("written")
N, D = 70, 4
LABELS = torch.arange(N) % 2
TARGETS = torch.linspace(0.2, 0.8, N)
ROWS = torch.from_numpy(np.random.default_rng(0).normal(size=(N, D)).astype(np.float32))
SPLIT = make_split(LABELS.numpy(), 0.6)
"""Of 42 images to train on: two batches of 16, and one of 10."""
FROM_HOST: Read = lambda views: ROWS[torch.from_numpy(views)]  # noqa: E731 - a reader.
FROM_TABLE = Reader(FROM_HOST, Gather(ROWS, lambda views, _: (ROWS.index_select(0, views), None)))


def record(work: Work, _: torch.device) -> Work:
    work()
    return work


def graphs(capture: Callable[[Work, torch.device], Work] = record) -> StepGraphs:
    return StepGraphs(capture, lambda _: True)


def config(**changes: Any) -> TrialConfig:
    plain = {"mode": "finetune", "train_ratio": 0.6, "lr": 0.1, "epochs": 2, "batch_size": 16}
    return TrialConfig(**plain | {"min_steps": 0, "aux_weight": 0.3} | changes)


def network() -> nn.Module:
    torch.manual_seed(2)
    layers = nn.Linear(D, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, D)
    return nn.Sequential(*layers)


def learner(c: TrialConfig, read: Read = FROM_TABLE, **more: Any) -> NetLearner:
    torch.manual_seed(1)
    net = TwoHeadedNet(network(), Heads(D, 2), c.precision)
    weighting, train = make_weighting(c.aux_weight, CPU), SPLIT.train
    return NetLearner(
        net, LABELS, TARGETS, TargetScale.of(TARGETS, [train]).one(), weighting,
        partial(epoch_order, train, c.seed), Budget.of(c, len(train)), 32, read, c.batchnorm,
        **more,
    )  # fmt: skip


def train(
    one: NetLearner, c: TrialConfig, by: StepGraphs | None = None, path: Path | None = None
) -> list[EpochMetrics]:
    kept = Checkpoint(LocalFile(path), {}, every_s=0) if path else None
    history = fit(one, SPLIT, c, lambda _: None, kept, by)
    return [replace(metrics, images_per_s=0.0) for metrics in history]


def tensors(value: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """Those of a nested state, by their place."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from tensors(each, f"{place}/{key}")


EXTRA = Unlabelled([SPLIT.val], [0], 5)


@pytest.mark.parametrize(("changes", "read", "more"), [
    ({"schedule": "constant"}, FROM_TABLE, {}),
    ({"batch_size": 64}, FROM_TABLE, {}),  # One batch of 42.
    ({"batch_size": 41}, FROM_HOST, {}),  # The same: it takes the image that would remain.
    ({"batchnorm": "train", "min_steps": 20}, FROM_HOST, {}),
    ({"aux_weight": "auto", "batchnorm": "train"}, FROM_TABLE, {"extra": EXTRA}),
    ({"precision": "bf16"}, FROM_TABLE, {"class_weights": torch.tensor([[0.5, 1.5]])}),
    ({"aux_weight": 0.0}, FROM_HOST, {"aux_weights": (torch.arange(N) % 3)[None].float()}),
])  # fmt: skip
def test_a_graph_changes_nothing(
    tmp_path: Path, changes: dict[str, Any], read: Read, more: dict[str, Any]
) -> None:
    c = config(**changes)
    plain, recorded = learner(c, read, **more), learner(c, read, **more)
    alone = train(plain, c, path=tmp_path / "plain")
    assert train(recorded, c, graphs(), tmp_path / "recorded") == alone
    assert changed(state(plain.model), state(recorded.model)) == set()
    one, other = (
        dict(tensors(load_checkpoint(LocalFile(tmp_path / name)))) for name in ("plain", "recorded")
    )
    assert len(one) > 30
    assert changed(one, other) == set()


def test_the_next_trial_uses_the_same_graph() -> None:
    by, first = graphs(), config()
    one = learner(first)
    train(one, first, by)
    before = state(one.model)
    second = config(lr=0.03, aux_weight=0.9, seed=3, epochs=2, mode="lp_ft", head_lr_ratio=10)
    again, plain = learner(second), learner(second)
    assert train(again, second, by) == train(plain, second)
    assert by.recorded == 1
    assert changed(state(again.model), state(plain.model)) == set()
    assert changed(state(one.model), before) == set(), "the first trial's weights are its own"


@pytest.mark.parametrize(
    "changes", [{"weight_decay": 0.2}, {"batch_size": 8}, {"aux_weight": "auto"}]
)
def test_another_step_has_another_graph(changes: dict[str, Any]) -> None:
    by, c = graphs(), config(**changes)
    train(learner(config()), config(), by)
    assert train(learner(c), c, by) == train(learner(c), c)
    assert by.recorded == 2


def test_a_cut_between_two_steps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(Exception):  # noqa: N818 - nothing went wrong.
        pass

    c, path = config(aux_weight="auto"), tmp_path / "state"
    plain = learner(c)
    uncut = train(plain, c)
    step = CapturedSteps._step_without

    def cut(self: CapturedSteps, batch: Any) -> None:
        if batch[0] == 5:  # The last of three steps of the second epoch.
            raise Cut
        step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(CapturedSteps, "_step_without", cut)
        with pytest.raises(Cut):
            train(learner(c), c, graphs(), path)
    assert load_checkpoint(LocalFile(path))["part"]["steps"] == 2
    saved = path.read_bytes()
    for by in (graphs(), None):  # A process that records no steps goes on as well.
        path.write_bytes(saved)
        resumed = learner(c)
        assert train(resumed, c, by, path) == uncut
        assert changed(state(resumed.model), state(plain.model)) == set()


def fail(work: Work, _: torch.device) -> Work:
    work()
    torch.rand(3)
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nSee stack")


def skip(work: Work, device: torch.device) -> Work:
    work()
    return lambda: None


def forget(work: Work, _: torch.device) -> Work:
    """A graph that computes the losses, but does not learn."""
    work()
    (steps,) = [work.__self__]  # type: ignore[attr-defined]

    def replay() -> None:
        rates, steps._rates[:] = steps._rates.clone(), 0.0
        work()
        steps._rates.copy_(rates)

    return replay


@pytest.mark.parametrize(("capture", "why"), [
    (fail, "CUDA error: operation not permitted when stream is capturing"),
    (skip, "the losses of a recorded step are not those of the same step without"),
    (forget, "the gradients of a recorded step are not those of the same step without"),
])  # fmt: skip
def test_without_a_graph_steps_are_taken_one_by_one(capture: Any, why: str) -> None:
    c, by = config(), graphs(capture)
    plain, tried = learner(c), learner(c)
    expected = train(plain, c)
    what = "training steps are launched one by one, as they can't be recorded as a graph"
    with pytest.warns(CaptureWarning, match=f"^{what}: {why}$"):
        assert train(tried, c, by) == expected
    assert changed(state(plain.model), state(tried.model)) == set()
    with warnings.catch_warnings(action="error"):
        assert train(learner(c), c, by) == expected
    assert (by.recorded, by.drop(), by.failure) == (0, False, why)


def test_a_trial_that_diverges_does_not_discredit_its_graph() -> None:
    by, wild = graphs(), config(lr=1e30, schedule="constant")
    with warnings.catch_warnings(action="error"):
        one = learner(wild)
        assert by.begin(one, make_optimizer(one.model, one.weighting, wild), wild) is None
    assert re.fullmatch("the (losses|gradients|weights) of a step are not finite", by.failure)
    assert train(learner(config()), config(), by) == train(learner(config()), config())
    assert (by.recorded, by.failure) == (1, "")


@pytest.mark.parametrize("changes", [{"compile": True}, {"precision": "fp16"}])
def test_what_is_not_recorded(changes: dict[str, Any]) -> None:
    by, c = graphs(), config(**changes)
    one = learner(c)
    assert by.begin(one, torch.optim.AdamW(one.model.parameters()), c) is None
    assert by.recorded == 0


def test_a_graph_is_given_up_for_memory() -> None:
    by, c = graphs(), config()
    expected = train(learner(c), c, by)
    assert by.drop()
    assert not by.drop()
    assert train(learner(c), c, by) == expected
    assert by.recorded == 2
    with pytest.warns(CaptureWarning, match="one by one, as the GPU has no memory for their graph"):
        assert by.make_room(CPU)
    assert not by.make_room(CPU)
    assert train(learner(c), c, by) == expected
    assert by.recorded == 2
