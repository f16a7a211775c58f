"""The space of trials: what is drawn for which mode, and from which range."""

import optuna
import pytest

from study.search.space import LR_RANGES, Space, single_config
from tests.support.studies.builders import make_settings
from tl_core.config import FROZEN, MODES, Mode


def draw(space: Space, n: int = 60) -> list[optuna.trial.FrozenTrial]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(n):
        space(trial := study.ask())
        study.tell(trial, 0.0)
    return study.trials


def test_only_the_drawn_mode_has_a_learning_rate_from_its_own_range() -> None:
    trials = draw(Space(make_settings(data="photos", mode=MODES)))
    assert {trial.params["mode"] for trial in trials} == set(MODES)
    for params in (trial.params for trial in trials):
        mode = params["mode"]
        if mode == "probe":
            assert set(params) == {"mode", "train_ratio"}
            continue
        own = {"unfreeze"} if mode == "partial" else set()
        assert set(params) == {"mode", "train_ratio", f"lr_{mode}", "aux_weight"} | own
        assert LR_RANGES[mode][0] <= params[f"lr_{mode}"] <= LR_RANGES[mode][1]


def test_learning_rate_is_log_uniform_and_weight_uniform() -> None:
    trials = draw(Space(make_settings(mode=["freeze"], lr=["1e-6", "1"], aux_weight=["0", "1"])))
    for name, middle in (("lr_freeze", 1e-3), ("aux_weight", 0.5)):
        below = [trial.params[name] < middle for trial in trials]
        # 60 draws: five standard errors of a share of one half are 0.32.
        assert sum(below) / 60 == pytest.approx(0.5, abs=0.32)
    expected = optuna.distributions.FloatDistribution(1e-6, 1.0, log=True)
    assert trials[0].distributions["lr_freeze"] == expected


@pytest.mark.parametrize(("name", "words"), [
    ("lr", ["0.003"]), ("lr", ["0.1", "0.01", "0.001"]), ("train_ratio", ["0.1", "0.8"]),
    ("aux_weight", ["auto"]), ("aux_weight", ["0", "auto"]), ("aux_weight", ["auto", "0.3", "0"]),
])  # fmt: skip
def test_one_value_is_fixed_and_others_are_choices(name: str, words: list[str]) -> None:
    space = Space(make_settings(**({"mode": ["freeze"]} | {name: words})))
    expected = {word if word == "auto" else float(word) for word in words}
    assert {getattr(space.config(t.params), name) for t in draw(space)} == expected


@pytest.mark.parametrize("mode", MODES)
def test_drawn_parameters_become_the_trial_they_stand_for(mode: Mode) -> None:
    settings = make_settings(
        data="photos", mode=MODES, backbone="vgg11", image_size="64", weights="none",
        epochs="3", batch_size="8", seed="5", split_seed="6", augment="flip", compile=True,
        unfreeze=["1", "2"], resize="pad", min_steps="50", schedule="constant",
        class_weights="balanced", layer_decay="0.75", head_lr_ratio="3",
    )  # fmt: skip
    space = Space(settings)
    lr = 5e-4  # In the range of every mode.
    drawn = {"mode": mode, "train_ratio": 0.03, f"lr_{mode}": lr, "aux_weight": 0.5, "unfreeze": 2}
    trial = optuna.trial.FixedTrial(drawn)
    space(trial)  # type: ignore[arg-type]
    assert space.config(trial.params).model_dump() == {
        "mode": mode, "train_ratio": 0.03, "lr": None if mode == "probe" else lr,
        "aux_weight": 0 if mode == "probe" else 0.5, "unfreeze": 2 if mode == "partial" else None,
        "backbone": "vgg11", "weights": "none", "image_size": 64, "batch_size": 8,
        "epochs": 1 if mode == "probe" else 3,  # It is solved, not trained.
        "seed": 5, "seeds": 8 if mode in FROZEN else 1, "split_seed": 6, "precision": "fp32",
        "augment": "flip", "compile": mode not in FROZEN,  # Heads on features are not compiled.
        "resize": "pad", "min_steps": 50, "schedule": "constant", "weight_decay": 0.01,
        "aux": "brightness", "aux_on": "labelled",
        "aux_target": "standardized", "class_weights": "balanced",
        "batchnorm": "train" if mode == "scratch" else "frozen",
        "layer_decay": 1.0 if mode in FROZEN else 0.75,
        "head_lr_ratio": 1.0 if mode in FROZEN else 3.0,
    }  # fmt: skip
    assert space.params(space.config(trial.params)) == trial.params
    config = single_config(make_settings(debug=True, mode=["lp_ft"], lr=["2e-4"]))
    assert (config.mode, config.train_ratio, config.lr) == ("lp_ft", 0.1, 2e-4)
    assert config.backbone == "efficientnet_lite0"


def test_first_trials_cover_every_cell_once_the_longest_first() -> None:
    space = Space(make_settings(mode=["freeze", "scratch"], train_ratio=["0.1", "0.8"]))
    cells = [(0.8, "scratch"), (0.8, "freeze"), (0.1, "scratch"), (0.1, "freeze")]
    assert [(cell["train_ratio"], cell["mode"]) for cell in space.cells()] == cells
