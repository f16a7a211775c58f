"""How long a study takes, by figures that can be checked in the head."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.cluster.capacity import Capacity
from study.config.settings import Settings
from study.diagnosis.estimate import (
    Before,
    Cells,
    Part,
    Speeds,
    TrialGroup,
    cells_of,
    eta,
    stage_s,
    trial_s,
    trials_an_hour,
)
from tests.support.studies.builders import make_settings
from tl_core.config import MODES, Mode

SPEEDS = Speeds(forward=100, train=10, save_s=1, heads=1000, score_s=0.5)
PART = Part(train=40, val=100)
DRIVER = 0.04
FOUR = Capacity(full=4, frozen=1, cpus=4, trials_per_gpu=1)
NOTHING = Before(0, 0, 0, 1, 0, 1)


def ask(**given: Any) -> Settings:
    return make_settings(data="photos", **given)


@pytest.mark.parametrize(("mode", "seconds"), [
    # Two epochs: eight seeds of 40 images at 1,000 a second, and half a second to validate.
    ("freeze", 2 * (0.32 + 0.5)),
    # 40 images at 10 a second, 100 at 100, and a second for the checkpoint.
    ("finetune", 2 * (4 + 1 + 1)),
    ("scratch", 2 * (4 + 1 + 1)),
    # One seed of heads first.
    ("lp_ft", 2 * (4 + 1 + 1) + 2 * (0.04 + 0.5)),
])  # fmt: skip
def test_seconds_of_a_trial(mode: Mode, seconds: float) -> None:
    found = trial_s(mode, PART, epochs=2, seeds=8, speeds=SPEEDS)
    assert found == pytest.approx(seconds + DRIVER)
    # The test set takes a network as long as a validation.
    assert trial_s("finetune", PART, 2, 1, SPEEDS, True) == pytest.approx(13.04)


def test_only_what_was_measured_is_estimated() -> None:
    for speeds, known in (
        (replace(SPEEDS, train=None), {"freeze"}), (replace(SPEEDS, forward=None), {"freeze"}),
        (replace(SPEEDS, heads=None), {"finetune", "scratch"}), (Speeds(), set()),
        (SPEEDS, set(MODES)),
    ):  # fmt: skip
        cells = cells_of(ask(mode=MODES, train_ratio=(0.1,)), {0.1: PART}, speeds)
        assert {mode for mode, _ in cells} == known


NETS, HEADS = TrialGroup("finetune", 10, 8), TrialGroup("freeze", 2, 5)


@pytest.mark.parametrize(
    ("trials", "at_once", "seconds"),
    [
        ([NETS], 9, 20),
        ([NETS], 2, 40),
        ([NETS, HEADS], 9, 20),  # The heads take ten seconds beside them.
        ([HEADS, HEADS, HEADS], 9, 30),
        # Not less than the longest trial, or the work of the driver.
        ([TrialGroup("finetune", 10, 1), TrialGroup("finetune", 1, 2)], 9, 10),
        ([TrialGroup("finetune", 0.001, 100)], 9, 100 * DRIVER),
        ([], 9, 0),
    ],
)
def test_trials_share_places(trials: list[TrialGroup], at_once: int, seconds: float) -> None:
    assert stage_s(trials, FOUR, at_once) == pytest.approx(seconds)


def test_trials_an_hour_go_to_each_cell_equally_often() -> None:
    cells: Cells = {("finetune", 0.1): 10, ("finetune", 0.8): 70, ("freeze", 0.1): 1}
    # 80 seconds of networks in four places make three trials in 20.
    assert trials_an_hour(FOUR, 9, cells) == pytest.approx(3 * 3600 / 20)


@pytest.mark.parametrize(
    ("views", "soon_s", "start_s", "features_s"),
    # Workers start for the frozen network and for the trials, unless there are few images.
    [(800, 7.9, 20, 2), (800, 8, 15, 8), (0, 0, 15, 0)],
)
def test_by_stages(views: int, soon_s: float, start_s: float, features_s: float) -> None:
    settings = ask(
        mode=("freeze", "finetune"), train_ratio=(0.1,), epochs=2, trials=8, confirm_seeds=4
    )
    before = Before(10, 5, 60, 20, views, extractors=4, soon_s=soon_s)
    found = eta(settings, FOUR, before, SPEEDS, {0.1: PART})
    assert found is not None
    assert (found.start_s, found.decoding_s, found.features_s) == (start_s, 3, features_s)
    # Four networks in four places; the four frozen trials beside them take less.
    assert found.search_s == pytest.approx(12.04)
    # Four, and four without the auxiliary task.
    assert found.confirming_s == pytest.approx(2 * 13.04)
    assert found.total_s == pytest.approx(start_s + 3 + features_s + 12.04 + 26.08)


@pytest.mark.parametrize(("given", "trials"), [
    ({}, 15), ({"aux_weight": (0.0,)}, 10), ({"aux_weight": (0.5,)}, 15), ({"confirm": False}, 1),
])  # fmt: skip
def test_what_confirms(given: dict[str, Any], trials: int) -> None:
    settings = ask(mode=("finetune", "scratch"), train_ratio=(0.1,), epochs=2, **given)
    found = eta(settings, Capacity(1, 0, 1, 1), NOTHING, SPEEDS, {0.1: PART})
    assert found is not None
    assert found.confirming_s == pytest.approx(trials * 13.04)


def test_without_a_speed_there_is_no_eta() -> None:
    settings = ask(mode=("freeze",), train_ratio=(0.1,))
    for lost, views in (("heads", 0), ("forward", 800)):
        before, speeds = replace(NOTHING, views=views), replace(SPEEDS, **{lost: None})  # type: ignore[arg-type]
        assert eta(settings, FOUR, before, speeds, {0.1: PART}) is None


def total(cpus: int, gpus: int, images: int, trials: int, mode: tuple[Mode, ...]) -> float:
    settings = ask(mode=mode, train_ratio=(0.1, 0.8), trials=trials)
    parts = {r: Part(int(r * images), images // 10) for r in (0.1, 0.8)}
    before = Before(10, 5, images, 20, images, gpus or cpus)
    return eta(settings, Capacity.of(settings, gpus, cpus), before, SPEEDS, parts).total_s  # type: ignore[union-attr]


@given(
    st.integers(1, 64), st.integers(0, 64), st.sampled_from([(0, 0), (1, 1), (1, 4), (4, 64)]),
    st.integers(10, 10_000), st.integers(2, 500),
    st.sampled_from([("freeze",), ("finetune",), ("freeze", "finetune"), MODES]),
)  # fmt: skip
def test_more_places_never_take_longer_and_more_images_never_shorter(
    cpus: int, more: int, gpus: tuple[int, int], images: int, trials: int, mode: tuple[Mode, ...]
) -> None:
    few, many = gpus
    here = total(cpus, few, images, trials, mode)
    assert total(cpus + more, many, images, trials, mode) <= here + 1e-9
    assert total(cpus, few, images + more, trials, mode) >= here - 1e-9
