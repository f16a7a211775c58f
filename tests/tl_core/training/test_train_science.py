"""What makes the answer hold: frozen is frozen, fast is slow, and modes are paired."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.conftest import SIDE
from tests.support.core.trials import CPU, NET, STILL, Trials, changed, state, untimed
from tl_core.aux_task import AuxWeight
from tl_core.config import MODES, Mode, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import Split, make_split
from tl_core.inputs.batches import epoch_order, split_batches
from tl_core.inputs.readers import pixel_reader
from tl_core.models.backbones import Backbone, load_backbone
from tl_core.models.heads import Heads
from tl_core.objectives.weighting import LOG_VARIANCE_LR
from tl_core.training.setup import pretrained
from tl_core.training.train import TrialResult


class SlowFreeze:
    """A trial of mode `freeze` that runs the frozen network in every step."""

    def __init__(self, config: TrialConfig, images: ImageSet, backbone: Backbone) -> None:
        self.config, self.images, self.backbone = config, images, backbone
        torch.manual_seed(config.seed)
        self.heads = Heads(backbone.n_features, 2)
        self.s_c, self.s_b = (torch.zeros((), requires_grad=True) for _ in range(2))

    def tasks(self, views: np.ndarray) -> Tensor:
        """The classification loss and the squared brightness error of each image, [2, B]."""
        logits, brightness = self.outputs(views)
        indices = views % len(self.images.labels)
        labels = torch.from_numpy(self.images.labels[indices]).float()
        classification = F.softplus(logits) - labels * logits
        error = (brightness - torch.from_numpy(self.images.brightness[indices])) ** 2
        return torch.stack([classification, error])

    def objective(self, tasks: Tensor) -> Tensor:
        """What a step makes smaller, from the means of both tasks, [2]."""
        if self.config.aux_weight != "auto":
            return self.reported(tasks)
        scale = torch.stack([1 / self.s_c.exp(), 1 / (2 * self.s_b.exp())])
        return (scale * tasks).sum() + (self.s_c + self.s_b) / 2

    def reported(self, tasks: Tensor) -> Tensor:
        return (1 - self.weight()) * tasks[0] + self.weight() * tasks[1]

    def weight(self) -> float:
        if self.config.aux_weight != "auto":
            return self.config.aux_weight
        return 1 / (1 + 2 * (self.s_b - self.s_c).exp().item())

    def outputs(self, views: np.ndarray) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(t).view(3, 1, 1) for t in (self.backbone.mean, self.backbone.std))
        n = len(self.images.labels)
        seen = [self.images.pixels[v % n][..., :: -1 if v >= n else 1] for v in views]
        pixels = (torch.from_numpy(np.stack(seen)) / 255 - mean) / std
        with torch.no_grad():
            features = self.backbone.network.eval()(pixels)
        logits, brightness = self.heads(features)
        return logits[:, 0], brightness

    def train(self, split: Split) -> list[tuple[float, float, float]]:
        """Training loss, validation loss and validation log loss of each epoch."""
        assert self.config.lr is not None
        optimizer = torch.optim.Adam(self.heads.parameters(), lr=self.config.lr)
        optimizer.add_param_group({"params": [self.s_c, self.s_b], "lr": LOG_VARIANCE_LR})
        c, history = self.config, []
        mirror = len(self.images.labels) if c.hflip else 0
        for epoch in range(1, c.epochs + 1):
            seen = []
            order = epoch_order(split.train, c.seed, epoch, mirror)
            for batch in split_batches(order, c.batch_size):
                tasks = self.tasks(batch)
                optimizer.zero_grad()
                self.objective(tasks.mean(dim=1)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                seen.append(tasks.detach())
            with torch.no_grad():
                train, val = (t.mean(dim=1) for t in (torch.cat(seen, 1), self.tasks(split.val)))
            history.append((self.reported(train).item(), self.reported(val).item(), val[0].item()))
        return history


@pytest.mark.parametrize(
    ("aux_weight", "seed", "hflip"),
    [(0.0, 3, True), (0.3, 0, False), (1.0, 3, True), ("auto", 0, False), ("auto", 3, True)],
)
def test_fast_is_slow(trials: Trials, aux_weight: AuxWeight, seed: int, hflip: bool) -> None:
    changes: dict[str, Any] = {"aux_weight": aux_weight, "seed": seed, "epochs": 3, "lr": 1e-2}
    changes |= {"augment": "flip" if hflip else "none"}
    fast = trials.run("freeze", read_test=True, **changes)
    backbone = load_backbone(NET, trials.weights, SIDE)
    slow = SlowFreeze(trials.config("freeze", **changes), trials.images, backbone)
    split = make_split(trials.images.labels, 0.5, 0, seed)
    found = [(m.train_loss, m.val_loss, m.val_log_loss) for m in fast.history]
    np.testing.assert_allclose(found, slow.train(split), atol=1e-4)
    with torch.no_grad():
        test = slow.tasks(split.test).mean(dim=1)
        expected = slow.outputs(split.test)
        pixels = pixel_reader(trials.images, fast.backbone, CPU)(split.test)
        logits, brightness = fast.net.eval()(pixels)
    assert fast.test["test_log_loss"] == pytest.approx(test[0].item(), abs=1e-4)
    assert fast.test["test_loss"] == pytest.approx(slow.reported(test).item(), abs=1e-4)
    learned = None if aux_weight != "auto" else pytest.approx(slow.weight(), abs=1e-5)
    assert fast.history[-1].aux_weight_learned == learned
    torch.testing.assert_close(logits[:, 0], expected[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(brightness, expected[1], atol=1e-4, rtol=0)


def original(trials: Trials) -> dict[str, Tensor]:
    return state(load_backbone(NET, trials.weights, SIDE).network)


def test_frozen_means_frozen_and_no_mode_writes_to_the_kept_network(trials: Trials) -> None:
    before, frozen = original(trials), trials.run("freeze")
    assert any(name.endswith("running_mean") for name in before)
    kept = pretrained(NET, trials.weights, SIDE, "fp32")
    assert kept.network is frozen.net.network
    for mode in (*MODES, "freeze"):
        assert changed(before, kept.network.state_dict()) == set(), f"before {mode}"
        assert not kept.network.training
        again = trials.run(mode, lr=0.1, epochs=1)
    assert again.net.network is kept.network


def test_frozen_random_weights_are_those_that_gave_the_features(lone_trials: Trials) -> None:
    first, again, other = (lone_trials.run("freeze", weights="none", seed=s) for s in (0, 0, 1))
    assert untimed(first) == untimed(again)
    assert changed(state(first.net.network), again.net.network.state_dict()) == set()
    assert changed(state(first.net.network), other.net.network.state_dict())
    entries = [path for path in (lone_trials.cache / "features").glob("[!.]*") if path.is_dir()]
    assert len(entries) == 2


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("batchnorm", ["frozen", "train"])
@pytest.mark.parametrize("mode", ["finetune", "lp_ft"])
def test_everything_learns(trials: Trials, mode: Mode, batchnorm: str) -> None:
    before = original(trials)
    result = trials.run(mode, epochs=1, batchnorm=batchnorm)
    moved = changed(before, result.net.network.state_dict())
    network = load_backbone(NET, trials.weights, SIDE).network
    assert {name for name, _ in network.named_parameters()} <= moved
    statistics = {name for name in before if name.endswith(STATISTICS)}
    assert moved & statistics == (statistics if batchnorm == "train" else set())


def val_logits(trials: Trials, result: TrialResult) -> Tensor:
    read = pixel_reader(trials.images, result.backbone, CPU)
    with torch.no_grad():
        logits: Tensor = result.net.eval()(read(result.split.val))[0]
    return logits


@pytest.mark.parametrize(("mode", "limit"), [("lp_ft", "probe"), ("finetune", "freeze")])
def test_at_a_rate_of_almost_zero_a_mode_is_its_start(
    trials: Trials, mode: Mode, limit: Mode
) -> None:
    """The network's BatchNorm statistics are not those of the data, and must not drift there."""
    start = trials.run(limit, lr=STILL, min_steps=20)
    still = trials.run(mode, lr=1e-9, min_steps=20)
    expected = val_logits(trials, start)
    torch.testing.assert_close(val_logits(trials, still), expected, atol=1e-4, rtol=2e-4)
    losses = [result.history[-1].val_log_loss for result in (still, start)]
    assert losses[0] <= losses[1] + 1e-4
    drifted = trials.run(mode, lr=1e-9, min_steps=20, batchnorm="train")
    assert (val_logits(trials, drifted) - expected).abs().max() > 1e-2, "it would be seen"


def test_lp_ft_starts_from_the_probe(trials: Trials) -> None:
    probe = trials.run("probe")
    both = trials.run("lp_ft", lr=STILL)
    assert changed(state(probe.net.heads), both.net.heads.state_dict()) == set()
    before = original(trials)
    for name, value in both.net.network.named_parameters():
        # Weights that start at 0 do move, by about the learning rate.
        torch.testing.assert_close(value, before[name], rtol=0, atol=100 * STILL)


def test_modes_are_paired_within_a_seed(trials: Trials) -> None:
    firsts = []
    for seed in (0, 5):
        runs = {mode: trials.run(mode, seed=seed, lr=STILL, epochs=1) for mode in MODES}
        fresh, solved = (state(runs[MODES[i]].net.heads) for i in (0, 1))
        for mode, run in runs.items():
            start = solved if mode in ("probe", "partial", "lp_ft") else fresh
            torch.testing.assert_close(
                run.net.heads.state_dict(), start, rtol=1e-6, atol=0, msg=mode
            )
        hashes = {str(run.split.hashes(trials.images.ids)) for run in runs.values()}
        assert len(hashes) == 1
        firsts.append(fresh)
    assert changed(*firsts) == set(firsts[0])


def test_a_seed_decides_every_number_whatever_ran_before(trials: Trials) -> None:
    """No mode leaves weights, statistics, random numbers or data behind in a worker."""

    def run(mode: Mode, seed: int = 4, **changes: Any) -> TrialResult:
        return trials.run(mode, read_test=True, epochs=1, augment="flip", seed=seed, **changes)

    firsts = {mode: run(mode) for mode in MODES}
    for mode in reversed(MODES):
        other = run(mode, seed=5, lr=0.01)
        first, again = firsts[mode], run(mode)
        assert untimed(first) == untimed(again) != untimed(other)
        assert first.test == again.test != other.test
        assert changed(state(first.net), again.net.state_dict()) == set()


def test_seeds_draw_training_images_and_split_seed_the_others(trials: Trials) -> None:
    seeds: tuple[dict[str, Any], ...] = ({}, {"seed": 1}, {"split_seed": 1})
    results = [trials.run("freeze", epochs=1, **each) for each in seeds]
    base, seed, split_seed = (result.split.hashes(trials.images.ids) for result in results)
    assert base["train"] != seed["train"]
    assert (base["val"], base["test"]) == (seed["val"], seed["test"])
    assert base["val"] != split_seed["val"]
    assert base["test"] != split_seed["test"]


@pytest.mark.parametrize("mode", MODES)
def test_mirrored_training_differs(trials: Trials, mode: Mode) -> None:
    plain, mirrored = (trials.run(mode, augment=a, epochs=1) for a in ("none", "flip"))
    assert untimed(mirrored) != untimed(plain)
