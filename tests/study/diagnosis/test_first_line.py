"""What a study says of its time before it starts."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from study.cluster.capacity import Capacity
from study.diagnosis import first_line as module
from study.diagnosis.estimate import Speeds
from study.diagnosis.first_line import expect, first_line
from study.search.short_sweeps import PER_S
from tests.conftest import SIDE
from tests.support.studies.builders import make_record, make_settings, plain_shape
from tl_core.config import Mode
from tl_core.data.splitting.rules import NO_RULES

SPEEDS = Speeds(forward=3.0, train=1.0, partial=4.0, sweep=1e9, probe=1e9)


@pytest.mark.parametrize(("mode", "ratios", "step", "ways"), [
    (("freeze", "finetune"), (0.1, 0.8), "whole network takes one core 32 s",
     "--mode partial instead of finetune, fewer --train-ratio, a smaller --image-size"),
    (("freeze", "partial"), (0.8,), "last stages takes one core 8 s", "a smaller --image-size"),
])  # fmt: skip
def test_a_long_study_says_what_takes_long_and_what_is_shorter(
    monkeypatch: pytest.MonkeyPatch, mode: tuple[Mode, ...], ratios: tuple[float, ...],
    step: str, ways: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "measure_step", lambda _: (SPEEDS, 512))
    prepared: Any = SimpleNamespace(
        settings=make_settings(data="photos", mode=mode, train_ratio=ratios, trials=8),
        state=None, resources=SimpleNamespace(cpus=2), capacity=Capacity(2, 2, 0),
        images=SimpleNamespace(labels=np.zeros(100), sizes=NO_RULES.sizes(100), classes=("a", "b")),
    )  # fmt: skip
    about, shorter = first_line(prepared)
    assert f"where a step of 32 images through the {step}; python study/doctor.py " in about
    assert shorter == f"shorter: {ways}, or a GPU"


@pytest.mark.parametrize(("seconds", "told"), [
    (29.0, "less than a minute on 2 cores, where "), (31.0, "about 0:01:00 on 2 cores, where "),
])  # fmt: skip
def test_a_short_study_is_told_in_the_words_of_the_program(
    monkeypatch: pytest.MonkeyPatch, seconds: float, told: str
) -> None:
    monkeypatch.setattr(module, "measure_step", lambda _: (SPEEDS, 512))
    monkeypatch.setattr(module, "eta", lambda *_: {"search": seconds})
    monkeypatch.setattr("sys.argv", ["tl-study"])
    prepared: Any = SimpleNamespace(
        settings=make_settings(data="photos", mode=("finetune",)), state=None,
        resources=SimpleNamespace(cpus=2), capacity=None,
        images=SimpleNamespace(labels=np.zeros(100), sizes=NO_RULES.sizes(100), classes=("a", "b")),
    )  # fmt: skip
    [line] = first_line(prepared)
    assert line.startswith(told)
    assert line.endswith("; tl-study doctor measures this closely")


def test_a_step_is_timed_once_for_the_first_line_and_the_limit_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE**2, 2))
    load = MagicMock(return_value=SimpleNamespace(network=network, precision="fp32", n_features=2))
    monkeypatch.setattr(module, "load_network", load)
    for only_cores in (True, True, False):
        prepared: Any = SimpleNamespace(
            settings=make_settings(data="photos", mode=("finetune",), image_size=SIDE), gpus=0,
            resources=SimpleNamespace(only_cores=lambda _, only=only_cores: only),
        )  # fmt: skip
        assert (module.measure_step(prepared) is None) != only_cores
    load.assert_called_once()


@pytest.mark.parametrize(("measured", "speeds"), [
    ((SPEEDS, 512), SPEEDS), (None, Speeds(sweep=PER_S, probe=PER_S)),
])  # fmt: skip
def test_a_step_is_measured_unless_trials_say_how_long_others_take(
    monkeypatch: pytest.MonkeyPatch, measured: tuple[Speeds, int] | None, speeds: Speeds
) -> None:
    monkeypatch.setattr(module, "measure_step", lambda _: measured)
    settings = make_settings(data="photos", mode=("finetune",), train_ratio=(0.1,))
    prepared: Any = SimpleNamespace(settings=settings)
    shape, ended = plain_shape(1000, 2, 512), make_record(mode="finetune")
    ended.wall_s = 10.0
    assert expect(prepared, shape, []).speeds == speeds
    assert expect(prepared, shape, [ended]).speeds is None
