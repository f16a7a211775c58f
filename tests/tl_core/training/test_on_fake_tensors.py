"""A GPU's computation without a GPU: tensors that have a device and a shape, but no numbers.

An operation on tensors of two devices, or one whose result depends on numbers, is an error here.
Torch can't go backward so: its engine asks for a real GPU. Gradients are there, without numbers.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.core.trials import Trials
from tl_core.config import Mode
from tl_core.inputs.resident import ResidentTables
from tl_core.models.heads import HeadStack, TwoHeadedNet
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import LearnedWeights, Weighting
from tl_core.training.fit import stack_optimizer
from tl_core.training.learners.base import Learner
from tl_core.training.learners.net import Part
from tl_core.training.optimizers import make_optimizer
from tl_core.training.setup import Inputs, TrialSetup
from tl_core.training.steps import captured
from tl_core.training.steps.captured import CapturedSteps
from tl_core.training.sweep import _learner
from tl_core.training.train import _net_learner, _what_learns

GPU = torch.device("cuda")


class Downloads(TorchDispatchMode):
    """Counts copies from the device to the host, for which the host waits."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [value for value in args if isinstance(value, Tensor)]
        if isinstance(out, Tensor) and out.device.type == "cpu":
            self.number += any(value.device.type == "cuda" for value in given)
        return out


@contextmanager
def fake_tensors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Downloads]:
    """Have all tensors be fake inside, and modules get new parameters when they are moved."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda host: host)  # There are no fake ones.
    # Made once, before the first step, of counts that depend on the labels.
    monkeypatch.setattr(
        TrialSetup, "class_weights", lambda _, seeds: torch.ones(len(seeds), 2).to(GPU)
    )
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("tl_core.inputs.resident.memory", lambda _: (10**9, 10**9))
    monkeypatch.setattr("tl_core.inputs.readers.RESIDENT", ResidentTables())
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    # A search for garbage that frees fake tensors ends Python with a bad pointer at times.
    gc.disable()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), Downloads() as downloads:
            yield downloads
    finally:
        gc.freeze()
        gc.enable()
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def assert_runs(
    learner: Learner,
    train: Callable[[], tuple[Tensor, Tensor, int]],
    val: np.ndarray,
    downloads: Downloads,
) -> None:
    """An epoch of several steps, and a prediction; the host waits at their ends alone."""
    before = downloads.number
    assert len(learner.budget.part(1)) == 3
    loss, accuracy, _ = train()
    assert {value.device.type for value in (loss, accuracy)} == {"cpu"}
    assert downloads.number - before <= 2
    before = downloads.number
    outputs = learner.predict(val)
    assert outputs.logits.device.type == "cpu"
    assert downloads.number - before == 2
    assert {p.device.type for p in learner.model.parameters()} == {"cuda"}


@pytest.mark.parametrize(("mode", "changes"), [
    ("scratch", {"precision": "fp16", "aux_weight": "auto", "augment": "flip"}),
    ("scratch", {"precision": "bf16", "augment": "trivial", "backbone": "mlp"}),
    ("scratch", {"augment": "crop", "aux_weight": 0.5, "backbone": "mlp"}),
])  # fmt: skip
def test_a_network_learns_and_scores(
    trials: Trials, mode: Mode, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = TrialSetup(trials.config(mode, **changes), Inputs(trials.images, trials.cache, GPU))
    split, heads = setup.split(0), setup.heads(0)
    with fake_tensors(monkeypatch) as downloads:
        scale = setup.scale([0]).one()
        network, read = _what_learns(setup)
        net = TwoHeadedNet(network, heads, setup.backbone.precision)
        learner = _net_learner(setup, net, read, split, scale)
        optimizer = make_optimizer(learner.model, learner.weighting, setup.config)
        learning = [p for group in optimizer.param_groups for p in group["params"]]

        def backward(loss: Tensor) -> None:
            assert (loss.shape, loss.dtype, loss.device.type) == ((), torch.float32, "cuda")
            for parameter in learning:
                parameter.grad = torch.empty_like(parameter)

        monkeypatch.setattr(Tensor, "backward", backward)
        train = partial(learner.train_part, 1, optimizer, Part())
        assert_runs(learner, train, split.val, downloads)


@pytest.mark.integration
@pytest.mark.parametrize("changes", [
    {"augment": "crop", "aux_weight": 0.5, "precision": "bf16"},
    {"augment": "flip", "aux_weight": "auto"},
    {"augment": "trivial", "aux_weight": 0.5},
])  # fmt: skip
def test_a_step_that_is_recorded_takes_nothing_from_the_host(
    trials: Trials, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    c = trials.config("scratch", backbone="mlp", **changes)
    setup = TrialSetup(c, Inputs(trials.images, trials.cache, GPU))
    split, heads = setup.split(0), setup.heads(0)
    # These need numbers.
    monkeypatch.setattr(captured, "_check", lambda *_: None)
    monkeypatch.setattr(captured, "random_states", lambda _: {})
    monkeypatch.setattr(captured, "restore_random_states", lambda *_: None)
    monkeypatch.setattr(torch, "_fused_adamw_", lambda *_, **__: None)
    recorded = list[CapturedSteps]()

    def backward(_: Tensor) -> None:
        for parameter in recorded[0].learner.model.parameters():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(Tensor, "backward", backward)
    with fake_tensors(monkeypatch) as downloads:
        network, read = _what_learns(setup)
        net = TwoHeadedNet(network, heads, setup.backbone.precision)
        learner = _net_learner(setup, net, read, split, setup.scale([0]).one())
        optimizer = make_optimizer(learner.model, learner.weighting, c)

        def record(work: Any, _: torch.device) -> Any:
            recorded.append(work.__self__)
            with monkeypatch.context() as patch:
                patch.setattr(torch, "from_numpy", None)
                work()
            return work

        steps = CapturedSteps(learner, optimizer, c, record)
        train = partial(steps.learner.train_part, 1, steps.optimizer, Part(), take=steps.take)
        assert_runs(steps.learner, train, split.val, downloads)


@pytest.mark.parametrize("learned", [False, True])
def test_a_sweep_learns_and_scores(
    trials: Trials, learned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trials.config("freeze", class_weights="balanced")
    trials.run("freeze")  # Then the features are cached.
    setup, seeds = TrialSetup(config, Inputs(trials.images, trials.cache, GPU)), [0, 1]
    heads = [setup.heads(seed) for seed in seeds for _ in "ab"]
    split, stack = setup.split(0), HeadStack(heads, 2)
    with fake_tensors(monkeypatch) as downloads:
        weighting = LearnedWeights(4, GPU) if learned else Weighting(0.5)
        scale = TargetScale.raw(4, GPU)
        learner = _learner(setup, seeds, stack, weighting, scale, len(split.train))
        decaying = config.model_copy(update={"weight_decay": 0.1})
        optimizer = stack_optimizer(learner, decaying, [0.1, 0.2, 0.1, 0.2])
        assert_runs(learner, partial(learner.train_part, 1, optimizer), split.val, downloads)
