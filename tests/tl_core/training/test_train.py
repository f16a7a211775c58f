from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import SIDE, draw_folder
from tests.support.core.trials import CPU, NET, STILL, Trials, state, untimed
from tl_core.aux_task import AuxWeight
from tl_core.config import MODES, EpochMetrics, Mode
from tl_core.data.datasets import load_images
from tl_core.data.sources import folder_source
from tl_core.errors import DivergedError, InputError
from tl_core.inputs.features import load_features
from tl_core.models.weights import BackboneError
from tl_core.training import setup
from tl_core.training.setup import Inputs, TrialSetup, needs_features, needs_pretrained
from tl_core.training.train import chance_warning, run_trial

METRICS = {
    "loss",
    "log_loss",
    "accuracy",
    "auroc",
    "balanced_accuracy",
    "macro_f1",
    "brightness_mae",
    "brightness_r2",
}


@pytest.mark.parametrize(
    ("mode", "aux_weight"),
    [
        *(("freeze", 0.0), ("freeze", "auto"), ("finetune", 0.3), ("finetune", "auto")),
        *(("lp_ft", 1.0), ("lp_ft", "auto"), ("scratch", 0.0), ("scratch", 1.0)),
        *(("probe", 0.0), ("partial", 0.3), ("partial", "auto")),
    ],
)
def test_every_mode_from_end_to_end(lone_trials: Trials, mode: Mode, aux_weight: AuxWeight) -> None:
    seen: list[EpochMetrics] = []
    config = lone_trials.config(mode, aux_weight=aux_weight)
    result = run_trial(config, lone_trials.images, lone_trials.cache, CPU, seen.append)
    assert result.history == tuple(seen)
    assert [metrics.epoch for metrics in seen] == ([1] if mode == "probe" else [1, 2])
    steps = [None] if mode == "probe" else [3, 6]
    assert [metrics.step for metrics in seen] == steps
    assert {m.l2 is not None for m in seen} == {mode == "probe"}
    assert all(metrics.images_per_s > 0 for metrics in seen)
    assert {m.aux_weight_learned is not None for m in seen} == {aux_weight == "auto"}
    assert result.backbone.name == NET
    assert [len(p) for p in (result.split.train, result.split.val, result.split.test)] == [20, 4, 4]
    assert needs_pretrained(mode) == (mode != "scratch")
    assert needs_features(mode) == (mode in ("freeze", "probe", "partial", "lp_ft"))
    assert (lone_trials.cache / "features").exists() == needs_features(mode)


@pytest.mark.parametrize("mode", MODES)
def test_three_classes(three_class_trials: Trials, mode: Mode) -> None:
    result = three_class_trials.run(mode, read_test=True, epochs=1)
    assert result.net.heads.classification.out_features == 3
    assert 0 <= result.test["test_auroc"] <= 1


@pytest.mark.parametrize("mode", ["freeze", "finetune"])
def test_test_scores_come_only_when_asked_for(trials: Trials, mode: Mode) -> None:
    unread, read = (trials.run(mode, read_test=asked, epochs=1) for asked in (False, True))
    assert unread.test == {}
    assert set(read.test) == {f"test_{name}" for name in METRICS}
    assert untimed(unread) == untimed(read)


def test_striped_animals_are_learnt(trials: Trials, three_class_trials: Trials) -> None:
    real = {"backbone": "efficientnet_lite0", "weights": "default", "lr": 1e-2, "epochs": 10}
    for each in (trials, three_class_trials):
        result = each.run("freeze", read_test=True, train_ratio=0.8, **real)
        assert result.history[-1].val_accuracy == 1
        assert result.test["test_accuracy"] == result.test["test_auroc"] == 1


@pytest.mark.parametrize(
    ("mode", "batch_size"), [("freeze", 8), ("partial", 100), ("finetune", 100), ("scratch", 100)]
)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_rate_that_is_far_too_high_diverges(trials: Trials, mode: Mode, batch_size: int) -> None:
    metric = "train_loss" if batch_size == 8 else "(train|val)_loss"
    with pytest.raises(DivergedError, match=f"^{metric} is (nan|inf) in epoch [12]$"):
        trials.run(mode, lr=1e30, aux_weight=0.3, batch_size=batch_size)


def test_other_images_than_the_configuration_names_are_refused(trials: Trials) -> None:
    faults = (
        "images have image_size 32, config says 64",
        "images have resize squash, config says pad",
        "images have aux brightness, config says age",
    )
    with pytest.raises(InputError) as caught:
        trials.run("freeze", image_size=64, resize="pad", aux="age")
    assert (*map(str, caught.value.faults),) == faults


def test_only_scratch_reads_no_weights(trials: Trials) -> None:
    for mode in MODES[:5]:
        with pytest.raises(BackboneError, match=r"^weights file /no/such\.pth does not exist$"):
            trials.run(mode, weights="/no/such.pth")
    result = trials.run("scratch", weights="/no/such.pth", epochs=1)
    assert untimed(result) == untimed(trials.run("scratch", epochs=1))
    assert result.backbone.weights_id.startswith("random seed 0 torch ")
    assert trials.run("scratch", backbone="mlp").backbone.n_features == 3


@pytest.mark.parametrize(("changes", "sizes", "accuracy", "warned"), [
    # Two standard errors over 20 images: of 0.5 they are 0.2236; of 0.75 they are 0.1936.
    ({}, (100, 100), 0.723, True), ({}, (100, 100), 0.724, False), ({}, (100, 100), 0.20, True),
    # Of 15 and 5 images, the standard error of the mean of two recalls is half of
    # sqrt(0.25 / 15 + 0.25 / 5), so two of them are 0.2582.
    ({}, (150, 50), 0.758, True), ({}, (150, 50), 0.759, False),
    ({"class_weights": "balanced"}, (180, 20), 0.90, False),
    # Over 30 images, of 1/3 they are 0.1721.
    ({}, (100, 100, 100), 0.505, True), ({}, (100, 100, 100), 0.506, False),
    ({"mode": "probe"}, (100, 100), 0.5, True),
    *(({"mode": mode}, (100, 100), 0.5, False) for mode in MODES[2:]),
    ({"aux_weight": 1.0}, (100, 100), 0.5, False),
])  # fmt: skip
def test_frozen_accuracy_near_chance_is_warned_of(
    trials: Trials, changes: dict[str, Any], sizes: tuple[int, ...], accuracy: float, warned: bool
) -> None:
    images = replace(trials.images, labels=np.repeat(np.arange(len(sizes)), sizes))
    # What part of all images is right does not matter.
    last = EpochMetrics(1, 0.7, 0.5, 0.7, 0.7, 0.8, 0.5, 100.0, val_balanced_accuracy=accuracy)
    config = trials.config(**{"mode": "freeze"} | changes)
    val = images.split(config.train_ratio, config.split_seed, config.seed).val
    counts = np.bincount(images.labels[val])
    assert (chance_warning(config, counts, last) is not None) == warned
    earlier = replace(last, val_balanced_accuracy=None)
    assert chance_warning(config, counts, earlier) is None


def test_the_warning_tells_what_may_be_wrong(trials: Trials) -> None:
    result = trials.run("freeze", lr=1e-9)
    (warning,) = result.warnings
    accuracy = result.history[-1].val_balanced_accuracy
    assert warning == (
        f"frozen validation balanced accuracy {accuracy:.3f} is less than two standard errors "
        "above chance (0.500, a guess among 2 classes) on 4 validation images: is the "
        "preprocessing right for these weights, does the learning rate 1e-09 fit 2 epochs, or are "
        "these images too few to tell?"
    )


def test_a_small_folder_of_another_kind(tmp_path: Path, own_cache: Path) -> None:
    folder = draw_folder(tmp_path / "three each", ("a=b", "c d"), n_images=3)
    images = load_images(folder_source(folder), SIDE, own_cache)
    trials = Trials(images, own_cache, Path("none"))
    result = trials.run("freeze", read_test=True, train_ratio=0.8)
    assert [len(result.split.train), len(result.split.val), len(result.split.test)] == [2, 2, 2]


def test_frozen_trial_of_several_seeds_is_the_mean_of_its_seeds(trials: Trials) -> None:
    together, *alone = (
        trials.run("freeze", seed=seed, seeds=seeds, train_ratio=0.4, read_test=True)
        for seed, seeds in ((3, 3), (3, 1), (4, 1), (5, 1))
    )
    losses = [one.history[-1].val_log_loss for one in alone]
    last = together.history[-1]
    assert last.val_log_loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert last.val_log_loss_std == pytest.approx(np.std(losses, ddof=1), rel=1e-2)
    tests = [one.test["test_log_loss"] for one in alone]
    assert together.test["test_log_loss"] == pytest.approx(np.mean(tests), rel=1e-4)
    heads, first = (state(one.net.heads) for one in (together, alone[0]))
    torch.testing.assert_close(heads, first, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", ["finetune", "lp_ft", "scratch"])
@pytest.mark.parametrize("augment", ["crop", "trivial"])
def test_augmentation_changes_what_training_sees_and_not_what_is_scored(
    trials: Trials, mode: Mode, augment: str
) -> None:
    still: dict[str, Any] = {"lr": STILL, "epochs": 1, "aux_weight": 0.5, "batchnorm": "frozen"}
    plain, changed, again = (
        trials.run(mode, **still, augment=a) for a in ("none", augment, augment)
    )
    assert untimed(changed) == untimed(again) != untimed(plain)
    assert changed.history[0].val_loss == pytest.approx(plain.history[0].val_loss, abs=1e-6)
    assert changed.history[0].train_loss != pytest.approx(plain.history[0].train_loss, abs=1e-5)


def test_a_frozen_trial_reads_its_features_once(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials.run("freeze")
    read: list[int] = []

    def load(*given: Any) -> Any:
        read.append(1)
        return load_features(*given)

    monkeypatch.setattr(setup, "load_features", load)
    trials.run("freeze", read_test=True)
    assert len(read) == 1


def test_algorithms_are_chosen_for_a_trial_that_runs_no_network(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[object] = []
    monkeypatch.setattr(setup, "choose_algorithms", lambda *given: chosen.append(given))
    TrialSetup(trials.config("freeze"), Inputs(trials.images, trials.cache, CPU))
    assert chosen == [(CPU, "fp32")]
