"""Whole trials whose steps are recorded, and what a step of a trial asks of the device."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.core.fake_gpu import fake_gpu
from tests.support.core.trials import CPU, Trials, changed, state, untimed
from tests.tl_core.training.steps.test_captured import graphs
from tl_core.config import Mode
from tl_core.inference.winner import trained_model
from tl_core.inputs.resident import ResidentTables
from tl_core.models.heads import TwoHeadedNet
from tl_core.training.optimizers import fused_adamw
from tl_core.training.setup import Inputs, TrialSetup
from tl_core.training.train import TrialResult, _net_learner, _what_learns, run_trial


class OnTheDevice(ResidentTables):
    """Has every table on a device, which is the CPU."""

    def get(self, kind: str, key: Any, parts: Any, device: torch.device) -> Tensor:
        if kind not in self._kept:
            self._kept[kind] = key, torch.from_numpy(np.concatenate(parts()))
        (_, table) = self._kept[kind]
        assert table is not None
        return table


def own_tables(monkeypatch: pytest.MonkeyPatch, tables: ResidentTables) -> ResidentTables:
    for user in ("tl_core.inputs.readers", "tl_core.inputs.prefix", "tl_core.training.memory"):
        monkeypatch.setattr(f"{user}.RESIDENT", tables)
    return tables


@pytest.mark.parametrize(("mode", "on_device", "changes"), [
    ("scratch", True, {"augment": "crop", "aux_weight": 0.5, "backbone": "mlp"}),
    ("scratch", False, {"augment": "trivial", "aux_weight": 0.5, "backbone": "mlp"}),
    pytest.param(
        *("scratch", True, {"augment": "flip", "aux_weight": "auto", "backbone": "mlp"}),
        marks=pytest.mark.integration,
    ),
    pytest.param(*("partial", True, {"batchnorm": "train"}), marks=pytest.mark.integration),
])  # fmt: skip
def test_a_trial_by_a_graph_is_the_same(
    trials: Trials, mode: Mode, on_device: bool, changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    c = trials.config(mode, schedule="cosine", **changes)
    by = graphs()

    def run(steps: Any) -> TrialResult:
        given = (c, trials.images, trials.cache, CPU)
        return run_trial(*given, read_test=True, graphs=steps)

    expected = run(None)
    own_tables(monkeypatch, OnTheDevice() if on_device else ResidentTables())
    found = run(by)
    assert by.recorded == 1
    assert untimed(found) == untimed(expected)
    assert found.test == expected.test
    assert changed(state(found.net), state(expected.net)) == set()


@pytest.mark.integration
def test_a_graph_leaves_a_gpu_that_has_no_room_for_it(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = trials.config("scratch", backbone="mlp", weights="none", aux_weight=0.5)
    tables = own_tables(monkeypatch, ResidentTables())

    def run(total: int, steps: Any) -> tuple[TrialResult, int]:
        with fake_gpu(monkeypatch, total) as gpu:
            return run_trial(c, trials.images, trials.cache, CPU, graphs=steps), gpu.most

    expected, alone = run(10**9, None)
    by = graphs()
    found, most = run(10**9, by)
    assert most > alone
    assert by.recorded == 1
    by = graphs()
    with pytest.warns(UserWarning, match="as a graph: the GPU has no memory for it$"):
        found, _ = run(alone, by)
    assert by.recorded == 0
    assert untimed(found) == untimed(expected)
    assert tables.nbytes > 0, "the data set stays on the GPU"


class Dispatches(TorchDispatchMode):
    """Counts the operations that a GPU would be asked for one by one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_step_asks_for_few_operations_beside_the_network(trials: Trials) -> None:
    c = trials.config("scratch", backbone="mlp", aux_weight=0.5)
    setup = TrialSetup(c, Inputs(trials.images, trials.cache, CPU))
    split = setup.split(0)
    network, read = _what_learns(setup)
    net = TwoHeadedNet(network, setup.heads(0), "fp32")
    learner = _net_learner(setup, net, read, split, setup.scale([0]).one())
    optimizer = fused_adamw([{"params": [*net.parameters()], "lr": 1e-3}])
    learner.step(split.train[:8], optimizer)
    with Dispatches() as seen:
        learner.step(split.train[:8], optimizer)
    with Dispatches() as alone:
        outputs = net(torch.zeros(8, 3, 32, 32))
        (outputs[0].sum() + outputs[1].sum()).backward()
    assert len(seen.names) - len(alone.names) <= 49
    assert sum("fused_adam" in name for name in seen.names) == 1


def test_full_batches_alone_are_compiled(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    counter, compile_module = CompileCounter(), nn.Module.compile
    asked: list[dict[str, Any]] = []

    def count(self: nn.Module, **options: Any) -> None:
        asked.append(options)
        compile_module(self, backend=counter, dynamic=options["dynamic"])

    monkeypatch.setattr(nn.Module, "compile", count)
    changes: dict[str, Any] = {"backbone": "mlp", "aux_weight": 0.5, "batch_size": 8}
    compiled = trials.run("scratch", compile=True, **changes)  # Of 20 images: 8, 8 and 4.
    assert asked == [{"dynamic": False, "options": {"cpp_cache_precompile_headers": False}}]
    assert counter.frame_count == 1
    assert untimed(compiled) == untimed(trials.run("scratch", **changes))
    model = trained_model(
        compiled, trials.config("scratch", compile=True, **changes), trials.images
    )
    model.outputs(trials.images.pixels, np.arange(7))
    assert counter.frame_count == 1, "predictions take the network as it is"
