import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config.command_line import parse
from study.config.settings import Settings
from study.config.validate import PLACES, command_of, resolve, settings_of
from tests.support.studies.builders import make_settings


def assert_command_leads_to_the_same_settings(asked: Settings) -> None:
    python, script, *words = shlex.split(command_of(asked))
    assert (python, script) == ("python", "study/run.py")
    found, faults = resolve(parse(words))
    assert faults == []
    assert found.model_dump(exclude=PLACES) == asked.model_dump(exclude=PLACES)
    assert settings_of({"settings": asked.model_dump(mode="json")}) == asked


def test_only_what_differs_from_the_defaults_is_written() -> None:
    asked = make_settings(name="mine", precision="bf16", out="elsewhere")
    assert command_of(asked) == (
        "python study/run.py --data demo --backbone efficientnet_lite0 --precision bf16"
    )


@pytest.mark.parametrize("given", [
    {"data": "./cat dog"},
    {"data": "a", "backbone": "timm:vit_small_patch16_224", "mode": ["finetune", "lp_ft"]},
    {"data": "mlp", "backbone": "mlp", "mode": ["scratch"], "lr": ["1e-5", "1e-2"]},
    {"hflip": True, "confirm": False, "gpus": "0", "aux_weight": ["0", "0.5", "0.9"]},
    {"debug": True, "mode": ["freeze"], "lr": ["0.01"]},
    {"preset": "freeze-large"},
])  # fmt: skip
def test_command_leads_to_the_same_settings(given: dict[str, Any]) -> None:
    assert_command_leads_to_the_same_settings(make_settings(**given))


RATIOS = st.lists(st.floats(1e-6, 0.8).map(str), min_size=1, max_size=4, unique=True)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.fixed_dictionaries({}, optional={
    "data": st.sampled_from(["demo", "oxford-pet", "it's $HOME; a folder"]),
    "epochs": st.integers(1, 99).map(str), "train_ratio": RATIOS, "hflip": st.just(True),
    "metric": st.sampled_from(["val_log_loss", "val_auroc"]),
    "seed": st.integers(0, 2**30 - 1).map(str),
}))  # fmt: skip
def test_any_command_leads_to_the_same_settings(given: dict[str, Any]) -> None:
    assert_command_leads_to_the_same_settings(make_settings(**given))
