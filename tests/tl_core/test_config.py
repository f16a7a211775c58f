from typing import Any, get_args

import pytest
from pydantic import ValidationError

from tl_core.aux_task import AuxWeight
from tl_core.config import MODES, Metric, Mode, TrialConfig, direction, sign

PLAIN: dict[str, Any] = {"mode": "freeze", "train_ratio": 0.1, "lr": 1e-3}


def test_modes_and_the_directions_of_metrics() -> None:
    assert MODES == ("freeze", "probe", "partial", "finetune", "lp_ft", "scratch")
    falling = {name for name in get_args(Metric) if direction(name) == "min"}
    assert falling == {"val_log_loss", "val_loss", "val_brightness_mae"}
    assert (sign("val_log_loss"), sign("val_accuracy")) == (1, -1)


def test_defaults_are_the_articles_but_for_the_recipe() -> None:
    config = TrialConfig(**PLAIN)
    assert (config.epochs, config.batch_size, config.image_size) == (10, 32, 224)
    assert (config.backbone, config.weights, config.aux_weight) == ("resnet18", "default", 0.0)
    assert (config.seed, config.split_seed) == (0, 0)
    with pytest.raises(ValidationError, match="Instance is frozen"):
        config.lr = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(("field", "value"), [
    ("train_ratio", 0.8), ("train_ratio", 1e-9), ("lr", 1e30), ("aux_weight", 0.0),
    ("aux_weight", "auto"), ("aux_weight", 1.0), ("image_size", 16), ("image_size", 1024),
    ("epochs", 1), ("batch_size", 1), ("seed", 0), ("split_seed", 2**31 - 1),
])  # fmt: skip
def test_values_at_the_bounds_pass(field: str, value: float | str) -> None:
    assert getattr(TrialConfig(**PLAIN | {field: value}), field) == value


NO_WEIGHT = "must be a number from 0 to 1, or auto"


@pytest.mark.parametrize(("field", "value", "message"), [
    ("mode", "frozen", "should be 'freeze', 'probe', 'partial', 'finetune', 'lp_ft' or"),
    ("train_ratio", 0.0, "greater than 0"), ("train_ratio", 1.01, "less than or equal to 1"),
    ("train_ratio", float("nan"), "finite number|greater than 0"),
    ("lr", 0.0, "greater than 0"), ("lr", float("inf"), "finite number"),
    *(("aux_weight", value, NO_WEIGHT) for value in (-0.1, 1.1, float("nan"), "Auto", None)),
    ("image_size", 15, "greater than or equal to 16"), ("image_size", 32.5, "valid integer"),
    ("image_size", 1025, "less than or equal to 1024"),
    *((name, 0, "greater than or equal to 1") for name in ("epochs", "batch_size")),
    ("seed", -1, "greater than or equal to 0"), ("split_seed", 2**31, "less than 2147483648"),
    ("learning_rate", 0.1, "Extra inputs are not permitted"),
])  # fmt: skip
def test_out_of_range_or_unknown_values(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=rf"(?s){field}.*({message})") as caught:
        TrialConfig(**{field: value})
    faults = {error["loc"][0] for error in caught.value.errors()}
    assert faults == {field, "mode", "train_ratio"}, "what has no default must be given"


@pytest.mark.parametrize("aux_weight", [0.3, "auto"])
def test_a_configuration_survives_json(aux_weight: AuxWeight) -> None:
    config = TrialConfig(**PLAIN, aux_weight=aux_weight, seed=5, weights="mine.pth")
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(("changes", "message"), [
    *(({"mode": mode, "seeds": 2}, f"{mode} trains one seed, not 2; only freeze and probe can")
      for mode in ("partial", "finetune", "lp_ft", "scratch")),
    ({"compile": True}, "freeze trains no network that compile could speed up"),
    ({"batchnorm": "train"}, "freeze changes no BatchNorm statistics: batchnorm must"),
    ({"layer_decay": 0.5},
     "freeze trains its heads alone: head_lr_ratio and layer_decay must be 1, not 1 and 0.5 "),
    ({"mode": "probe", "lr": None, "head_lr_ratio": 3}, "decay must be 1, not 3 and 1 "),
    ({"mode": "probe"}, "probe has no lr"),
    ({"lr": None}, "freeze needs an lr"),
    ({"unfreeze": 1}, "unfreeze is for mode partial, not for mode freeze"),
    ({"mode": "probe", "lr": None, "aux_weight": 0.3}, "solves each task alone: aux_weight"),
    ({"mode": "probe", "lr": None, "epochs": 2}, "is solved, not trained: epochs must be 1"),
    ({"mode": "probe", "epochs": 2}, "probe has no lr; mode probe is solved, not trained: epochs"),
    ({"mode": "partial", "augment": "crop"}, "learns from cached views, which crop has not"),
    ({"augment": "trivial"}, "freeze learns from cached views, which trivial has not"),
])  # fmt: skip
def test_what_does_not_fit_the_mode(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialConfig(**PLAIN | changes)


@pytest.mark.parametrize(("mode", "batchnorm", "head_lr_ratio", "unfreeze", "epochs"), [
    ("freeze", "frozen", 1, None, 10), ("probe", "frozen", 1, None, 1),
    ("partial", "frozen", 1, 1, 10), ("finetune", "frozen", 10, None, 10),
    ("lp_ft", "frozen", 1, None, 10), ("scratch", "train", 1, None, 10),
])  # fmt: skip
def test_some_defaults_depend_on_the_mode(
    mode: Mode, batchnorm: str, head_lr_ratio: float, unfreeze: int | None, epochs: int
) -> None:
    c = TrialConfig(**PLAIN | {"mode": mode} | ({"lr": None} if mode == "probe" else {}))
    found = (c.batchnorm, c.head_lr_ratio, c.unfreeze, c.epochs)
    assert found == (batchnorm, head_lr_ratio, unfreeze, epochs)
    assert (c.min_steps, c.schedule, c.weight_decay, c.layer_decay) == (200, "cosine", 0.01, 1)
