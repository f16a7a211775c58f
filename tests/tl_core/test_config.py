from typing import Any, get_args

import pytest
from pydantic import ValidationError

from tl_core.config import (
    DIRECTIONS,
    MODES,
    AuxWeight,
    Metric,
    TrialConfig,
    default_image_size,
)

PLAIN: dict[str, Any] = {"mode": "freeze", "train_ratio": 0.1, "lr": 1e-3}


def test_modes() -> None:
    assert MODES == ("freeze", "finetune", "lp_ft", "scratch")


def test_every_metric_has_a_direction() -> None:
    assert set(DIRECTIONS) == set(get_args(Metric))
    falling = {name for name, way in DIRECTIONS.items() if way == "min"}
    assert falling == {"val_log_loss", "val_loss", "val_brightness_mae"}


def test_defaults_are_the_articles() -> None:
    config = TrialConfig(**PLAIN)
    assert (config.epochs, config.batch_size, config.image_size) == (10, 32, 224)
    assert (config.backbone, config.weights, config.aux_weight) == ("resnet18", "default", 0.0)
    assert (config.seed, config.split_seed) == (0, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_ratio", 0.8),
        ("train_ratio", 1e-9),
        ("lr", 1e30),
        ("aux_weight", 0.0),
        ("aux_weight", "auto"),
        ("aux_weight", 1.0),
        ("image_size", 16),
        ("image_size", 1024),
        ("epochs", 1),
        ("batch_size", 1),
        ("seed", 0),
        ("split_seed", 2**31 - 1),
    ],
)
def test_values_at_the_bounds_pass(field: str, value: float | str) -> None:
    assert getattr(TrialConfig(**PLAIN | {field: value}), field) == value


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mode", "frozen", "should be 'freeze', 'finetune', 'lp_ft' or 'scratch'"),
        ("train_ratio", 0.0, "greater than 0"),
        ("train_ratio", 0.81, "less than or equal to 0.8"),
        ("train_ratio", float("nan"), "finite number|greater than 0"),
        ("lr", 0.0, "greater than 0"),
        ("lr", float("inf"), "finite number"),
        ("aux_weight", -0.1, "must be a number from 0 to 1, or auto"),
        ("aux_weight", 1.1, "must be a number from 0 to 1, or auto"),
        ("aux_weight", float("nan"), "must be a number from 0 to 1, or auto"),
        ("aux_weight", "Auto", "must be a number from 0 to 1, or auto"),
        ("aux_weight", None, "must be a number from 0 to 1, or auto"),
        ("image_size", 15, "greater than or equal to 16"),
        ("image_size", 1025, "less than or equal to 1024"),
        ("image_size", 32.5, "valid integer"),
        ("epochs", 0, "greater than or equal to 1"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("seed", -1, "greater than or equal to 0"),
        ("split_seed", 2**31, "less than 2147483648"),
    ],
)
def test_values_out_of_range_are_refused_by_name(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=rf"(?s){field}.*({message})"):
        TrialConfig(**PLAIN | {field: value})


def test_all_faults_are_told_together() -> None:
    with pytest.raises(ValidationError, match="3 validation errors") as caught:
        TrialConfig(**PLAIN | {"train_ratio": 0.9, "lr": -1, "epochs": 0})
    assert [error["loc"] for error in caught.value.errors()] == [
        ("train_ratio",),
        ("lr",),
        ("epochs",),
    ]


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"(?s)learning_rate.*Extra inputs are not permitted"):
        TrialConfig(**PLAIN | {"learning_rate": 0.1})


@pytest.mark.parametrize("field", list(PLAIN))
def test_what_has_no_default_must_be_given(field: str) -> None:
    with pytest.raises(ValidationError, match=rf"(?s){field}.*Field required"):
        TrialConfig(**{name: value for name, value in PLAIN.items() if name != field})


def test_a_configuration_does_not_change() -> None:
    config = TrialConfig(**PLAIN)
    with pytest.raises(ValidationError, match="Instance is frozen"):
        config.lr = 0.1  # type: ignore[misc]


@pytest.mark.parametrize("aux_weight", [0.3, "auto"])
def test_a_configuration_survives_json(aux_weight: AuxWeight) -> None:
    config = TrialConfig(**PLAIN, aux_weight=aux_weight, seed=5, weights="mine.pth")
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("name", "side"), [("mlp", 128), ("shared_mlp", 128), ("resnet18", 224), ("timm:dla34", 224)]
)
def test_default_image_size(name: str, side: int) -> None:
    assert default_image_size(name) == side


@pytest.mark.parametrize("mode", ["finetune", "lp_ft", "scratch"])
def test_only_frozen_trials_train_several_seeds(mode: str) -> None:
    with pytest.raises(ValidationError, match=f"mode {mode} trains one seed, not 2; only freeze"):
        TrialConfig(**PLAIN | {"mode": mode, "seeds": 2})
