from typing import Any

import optuna
import pytest

from study.search.space import LR_RANGES, Space, single_config
from tests.support.studies.builders import make_settings
from tl_core.config import MODES


def draw(space: Space, n: int = 60) -> list[optuna.trial.FrozenTrial]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(n):
        trial = study.ask()
        space(trial)
        study.tell(trial, 0.0)
    return study.trials


def test_only_the_drawn_mode_has_a_learning_rate_from_its_own_range() -> None:
    trials = draw(Space(make_settings(data="photos", mode=MODES)))
    assert {trial.params["mode"] for trial in trials} == set(MODES)
    for params in (trial.params for trial in trials):
        mode = params["mode"]
        assert set(params) == {"mode", "train_ratio", f"lr_{mode}", "aux_weight"}
        assert LR_RANGES[mode][0] <= params[f"lr_{mode}"] <= LR_RANGES[mode][1]


def test_learning_rate_is_log_uniform_and_weight_uniform() -> None:
    trials = draw(Space(make_settings(mode=["freeze"], lr=["1e-6", "1"], aux_weight=["0", "1"])))
    half_of_the_logs = [trial.params["lr_freeze"] < 1e-3 for trial in trials]
    half_of_the_weights = [trial.params["aux_weight"] < 0.5 for trial in trials]
    # 60 draws: five standard errors of a share of one half are 0.32.
    assert sum(half_of_the_logs) / 60 == pytest.approx(0.5, abs=0.32)
    assert sum(half_of_the_weights) / 60 == pytest.approx(0.5, abs=0.32)
    assert trials[0].distributions["lr_freeze"] == optuna.distributions.FloatDistribution(
        1e-6, 1.0, log=True
    )


@pytest.mark.parametrize(
    ("values", "drawn"),
    [(["0.003"], {0.003}), (["0.1", "0.01", "0.001"], {0.1, 0.01, 0.001})],
)
def test_one_value_is_fixed_and_three_are_choices(values: list[str], drawn: set[float]) -> None:
    trials = draw(Space(make_settings(mode=["freeze"], lr=values)))
    assert {trial.params["lr_freeze"] for trial in trials} == drawn


@pytest.mark.parametrize("words", [["auto"], ["0", "auto"], ["auto", "0.3", "0"]])
def test_weights_with_auto_among_them_are_choices(words: list[str]) -> None:
    space = Space(make_settings(mode=["freeze"], aux_weight=words))
    trials = draw(space)
    expected = {word if word == "auto" else float(word) for word in words}
    assert {trial.params["aux_weight"] for trial in trials} == expected
    assert {space.config(trial.params).aux_weight for trial in trials} == expected


def test_ratios_are_choices_also_when_there_are_two() -> None:
    trials = draw(Space(make_settings(train_ratio=["0.1", "0.8"])))
    assert {trial.params["train_ratio"] for trial in trials} == {0.1, 0.8}


def test_drawn_parameters_become_the_trial_they_stand_for() -> None:
    settings = make_settings(
        data="photos", mode=MODES, backbone="vgg11", image_size="64", weights="none",
        epochs="3", batch_size="8", seed="5", split_seed="6", hflip=True, compile=True,
    )  # fmt: skip
    fixed: dict[str, Any] = {
        "mode": "lp_ft", "train_ratio": 0.05, "lr_lp_ft": 2e-5, "aux_weight": 0.5,
    }  # fmt: skip
    trial = optuna.trial.FixedTrial(fixed)
    space = Space(settings)
    space(trial)  # type: ignore[arg-type]
    assert space.config(trial.params).model_dump() == {
        "mode": "lp_ft", "train_ratio": 0.05, "lr": 2e-5, "aux_weight": 0.5,
        "backbone": "vgg11", "weights": "none", "image_size": 64,
        "epochs": 3, "batch_size": 8, "seed": 5, "seeds": 1, "split_seed": 6,
        "precision": "fp32", "hflip": True, "compile": True,
    }  # fmt: skip


def test_single_config_takes_the_one_value_of_each_factor() -> None:
    config = single_config(make_settings(debug=True, mode=["lp_ft"], lr=["2e-4"]))
    assert (config.mode, config.train_ratio, config.lr) == ("lp_ft", 0.1, 2e-4)
    assert config.backbone == "efficientnet_lite0"


def test_first_trials_cover_every_cell_once_the_longest_first() -> None:
    space = Space(make_settings(mode=["freeze", "scratch"], train_ratio=["0.1", "0.8"]))
    assert [(cell["train_ratio"], cell["mode"]) for cell in space.cells()] == [
        (0.8, "scratch"),
        (0.8, "freeze"),
        (0.1, "scratch"),
        (0.1, "freeze"),
    ]


def test_heads_on_features_are_not_compiled() -> None:
    space = Space(make_settings(mode=MODES, compile=True))
    drawn = {"train_ratio": 0.1, "aux_weight": 0.0}
    compiled = {
        mode: space.config({"mode": mode, f"lr_{mode}": 1e-3} | drawn).compile for mode in MODES
    }
    assert compiled == {"freeze": False, "finetune": True, "lp_ft": True, "scratch": True}
