"""Trials of a small network that raises torch's error for a GPU that is too small."""

import copy
import re
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.core.fake_gpu import fake_gpu
from tests.support.core.trials import Trials, untimed
from tl_core.config import EpochMetrics
from tl_core.device import CPU
from tl_core.errors import GpuMemoryError
from tl_core.inputs.resident import ResidentTables
from tl_core.models.backbones import Backbone
from tl_core.training import setup, train
from tl_core.training.sweep import run_sweep
from tl_core.training.train import run_trial

WAYS_OUT = "choose a smaller --image-size or --backbone, or fewer --trials-per-gpu"


class Limited(nn.Module):
    """A network with memory for up to so many images."""

    def __init__(self, learning: int, scoring: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(12, 3))
        self.learning, self.scoring = learning, scoring
        self.activations: list[weakref.ref[Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        assert all(old() is None for old in self.activations), "memory is still held"
        features: Tensor = self.network(images)
        if len(images) > (self.learning if self.training else self.scoring):
            self.activations.append(weakref.ref(features))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return features


def limit(monkeypatch: pytest.MonkeyPatch, learning: int, scoring: int = 1000) -> None:
    """Let the following trials train limited networks."""
    half = (0.5, 0.5, 0.5)
    backbone = Backbone("limited", Limited(learning, scoring), 3, half, half, "limited")
    setup.pretrained.cache_clear()
    monkeypatch.setattr(setup, "load_backbone", lambda *_: copy.deepcopy(backbone))


# The trials have 20 images to train on. Of 512, all go into one step, until 512 / 32 = 16; of 38, a
# batch of 19 includes the one image that would remain.
@pytest.mark.parametrize(
    ("batch_size", "learning", "fits"),
    [(16, 8, 8), (16, 7, 4), (16, 2, 2), (512, 19, 16), (38, 19, 9)],
)
def test_the_batch_size_that_fits_is_named(
    trials: Trials, monkeypatch: pytest.MonkeyPatch, batch_size: int, learning: int, fits: int
) -> None:
    limit(monkeypatch, learning)
    message = f"out of GPU memory at --batch-size {batch_size}; {fits} fits, or {WAYS_OUT}"
    with pytest.raises(GpuMemoryError, match=f"^{re.escape(message)}$") as caught:
        trials.run("scratch", batch_size=batch_size)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    trials.run("scratch", batch_size=fits)


def test_images_without_a_class_label_shrink_as_well(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A step of 8 has as many others, one of 4 has 4: 16 and 8 images.
    limit(monkeypatch, 8)
    given: dict[str, Any] = {"train_ratio": 0.4, "aux_on": "all", "aux_weight": 0.5}
    with pytest.raises(GpuMemoryError, match=r"at --batch-size 8; 4 fits, or choose"):
        trials.run("scratch", **given)
    trials.run("scratch", batch_size=4, **given)


def test_one_image_comes_last(three_class_trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 9 images, batches of 2 leave one, which makes a batch of 3; batches of 1 make one of 2.
    limit(monkeypatch, 2)
    with pytest.raises(GpuMemoryError, match="at --batch-size 8; 1 fits, or choose"):
        three_class_trials.run("scratch", train_ratio=0.15)


@pytest.mark.parametrize("batch_size", [8, 1])
def test_no_size_fits(trials: Trials, monkeypatch: pytest.MonkeyPatch, batch_size: int) -> None:
    limit(monkeypatch, 0)
    message = f"out of GPU memory at --batch-size {batch_size}, and not even 1 fits: {WAYS_OUT}"
    with pytest.raises(GpuMemoryError, match=f"^{message}$"):
        trials.run("scratch", batch_size=batch_size)


@pytest.mark.parametrize("mode", ["lp_ft", "scratch"])
def test_scoring_takes_as_many_as_fit(
    trials: Trials, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    limit(monkeypatch, 1000)
    trials.run("lp_ft")  # Then the features are cached, and need no memory.
    limit(monkeypatch, learning=1000)
    whole = trials.run(mode)
    limit(monkeypatch, learning=1000, scoring=3)
    assert trials.run(mode).history[-1].val_accuracy == whole.history[-1].val_accuracy
    limit(monkeypatch, learning=1000, scoring=0)
    message = f"out of GPU memory when it scores one image: {WAYS_OUT}"
    with pytest.raises(GpuMemoryError, match=f"^{message}$"):
        trials.run(mode)


def test_a_frozen_network_runs_over_as_many_as_fit(
    lone_trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in ("tl_core.inputs.readers", "tl_core.inputs.features"):
        monkeypatch.setattr(f"{user}.RESIDENT", ResidentTables())
    # The CPU, which folds the network, has memory for an image.
    monkeypatch.setattr("tl_core.inputs.features.fold_backbone", lambda backbone, _: backbone)
    with fake_gpu(monkeypatch, 10**9):
        limit(monkeypatch, 1000, scoring=0)
        message = f"out of GPU memory when limited runs over one image: {WAYS_OUT}"
        with pytest.raises(GpuMemoryError, match=f"^{message}$"):
            lone_trials.run("freeze")
        limit(monkeypatch, 1000, scoring=3)
        lone_trials.run("freeze")


def test_pixels_leave_a_gpu_that_has_no_room_for_a_step(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(total: int) -> tuple[list[EpochMetrics], list[int], int, bool]:
        seen, tables = list[int](), ResidentTables()
        for user in ("tl_core.inputs.readers", "tl_core.training.memory"):
            monkeypatch.setattr(f"{user}.RESIDENT", tables)
        config = trials.config("scratch", backbone="mlp", weights="none")
        torch.manual_seed(0)
        with fake_gpu(monkeypatch, total) as gpu:
            given = (config, trials.images, trials.cache, torch.device("cpu"))
            result = run_trial(*given, lambda metrics: seen.append(metrics.epoch))
        return untimed(result), seen, gpu.most, tables.nbytes > 0

    history, seen, most, on_gpu = run(10**9)
    assert (seen, on_gpu) == ([1, 2], True)
    table = trials.images.pixels.nbytes
    assert run(most) == (history, seen, most, True)
    again, seen, streamed, on_gpu = run(most - table // 2)
    assert (again, seen, on_gpu) == (history, [1, 2], False)
    assert streamed < most
    with pytest.raises(GpuMemoryError, match="at --batch-size 8, and not even 1 fits"):
        run(most // 2)


@pytest.mark.parametrize("part", ["solve_heads", "score_test"])
def test_pixels_leave_a_gpu_that_has_no_room_before_or_after_the_steps(
    lone_trials: Trials, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, work, seen = ResidentTables(), getattr(train, part), list[int]()
    for user in ("readers", "features"):
        monkeypatch.setattr(f"tl_core.inputs.{user}.RESIDENT", tables)
    monkeypatch.setattr("tl_core.training.memory.RESIDENT", tables)

    def short(*given: Any) -> Any:
        if tables.nbytes or never:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return work(*given)

    def run() -> dict[str, float]:
        given = (lone_trials.config("lp_ft"), lone_trials.images, lone_trials.cache, CPU)
        return run_trial(*given, lambda each: seen.append(each.epoch), read_test=True).test

    whole, never = run(), False
    monkeypatch.setattr(train, part, short)
    seen.clear()
    with fake_gpu(monkeypatch, 10**9):
        pixels = lone_trials.images.pixels
        tables.get("pixels", lone_trials.images.path, lambda: [pixels], CPU)
        assert (run(), seen, tables.nbytes) == (whole, [1, 2], 0)
        never = True
        message = f"out of GPU memory before the first step or after the last: {WAYS_OUT}"
        with pytest.raises(GpuMemoryError, match=f"^{message}$"):
            run()


@pytest.mark.parametrize("mode", ["freeze", "probe"])
def test_a_kept_table_and_graph_leave_a_gpu_that_has_no_room_for_heads(
    lone_trials: Trials, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, graph = ResidentTables(), [True]
    tables.holders.append(lambda: bool(graph) and graph.pop())
    monkeypatch.setattr("tl_core.training.memory.RESIDENT", tables)
    config, work = lone_trials.config(mode), setup.Inputs.targets

    def short(inputs: setup.Inputs) -> tuple[Tensor, Tensor]:
        if tables.nbytes or graph or never:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return work(inputs)

    def run() -> list[EpochMetrics]:
        return untimed(run_trial(config, lone_trials.images, lone_trials.cache, CPU))

    def sweep() -> list[EpochMetrics]:
        inputs = setup.Inputs(lone_trials.images, lone_trials.cache, CPU)
        return untimed(run_sweep([config], inputs)[0])

    whole, never = run(), False
    monkeypatch.setattr(setup.Inputs, "targets", short)
    with fake_gpu(monkeypatch, 10**9):
        for train_heads in (run, sweep):
            graph.append(True)
            tables.get("pixels", train_heads, lambda: [lone_trials.images.pixels], CPU)
            assert (train_heads(), tables.nbytes, graph) == (whole, 0, [])
        never = True
        message = f"out of GPU memory for heads on cached features: {WAYS_OUT}"
        for train_heads in (run, sweep):
            with pytest.raises(GpuMemoryError, match=f"^{message}$"):
                train_heads()


def test_another_error_is_raised_as_it_is(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 1000)
    monkeypatch.setattr(Limited, "forward", lambda *_: int("something else"))
    with pytest.raises(ValueError, match=r": 'something else'$"):
        trials.run("scratch")
