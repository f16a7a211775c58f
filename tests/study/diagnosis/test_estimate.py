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
    Speeds,
    TrialGroup,
    cells_of,
    confirming_stages,
    eta,
    groups_of,
    stage_s,
    trial_s,
    trials_an_hour,
)
from study.search.short_sweeps import PER_S, products
from tests.support.studies.builders import make_config, make_settings, plain_shape
from tl_core.config import MODES, Mode
from tl_core.data.splitting.rules import PartSizes

SHAPE = plain_shape(400, 2, 10)
SPEEDS = Speeds(forward=100, train=10, partial=40, sweep=1e6, probe=1e7)
DRIVER, RECORD = 0.04, 0.01
FOUR = Capacity(full=4, cpus=4, trials_per_gpu=1)
NOTHING = Before(0, 0, 0, 0, 1, 0, 1)
LIKE = {"train_ratio": 0.1, "epochs": 2, "min_steps": 0}
NET = DRIVER + 2 * (4 + 0.4)
"""Two epochs: 40 images at 10 a second, and 40 to validate at 100."""
PROBE = products(make_config(mode="probe", lr=None, train_ratio=0.1, epochs=1), SHAPE) / 1e7


def ask(**given: Any) -> Settings:
    return make_settings(data="photos", min_steps=0, **given)


@pytest.mark.parametrize(("mode", "seconds"), [
    ("finetune", NET),
    ("scratch", NET),
    # The probe of one seed first.
    ("lp_ft", NET + PROBE),
    # What scores a part of the network is not measured.
    ("partial", DRIVER + 2 * (1 + 1) + PROBE),
])  # fmt: skip
def test_seconds_of_a_network(mode: Mode, seconds: float) -> None:
    config = make_config(mode=mode, **LIKE)
    assert trial_s(config, SHAPE, SPEEDS) == pytest.approx(seconds)
    # The test set takes as long as a validation.
    more = 1 if mode == "partial" else 0.4
    assert trial_s(config, SHAPE, SPEEDS, tests=True) == pytest.approx(seconds + more)


def test_given_parts_count_as_large_as_they_are() -> None:
    config, sizes = make_config(mode="scratch", **LIKE), PartSizes(400, 400, val=80, test=200)
    shape, more = SHAPE._replace(images=sizes), (2 * 40 + 200) / 100
    assert trial_s(config, shape, SPEEDS, tests=True) == pytest.approx(NET + more)


def test_fewest_steps_count() -> None:
    # At 20 images a step, 40 images are two steps: ten passes for 20 steps, two of which report.
    config = make_config(mode="scratch", **LIKE | {"min_steps": 20, "batch_size": 20})
    assert trial_s(config, SHAPE, SPEEDS) == pytest.approx(DRIVER + 10 * 4 + 2 * 0.4)


@pytest.mark.parametrize(("train_ratio", "worth"), [(0.01, 8), (0.02, 8), (0.05, 20)])
def test_a_step_of_few_images_takes_a_third_of_a_batch_at_least(
    train_ratio: float, worth: float
) -> None:
    own = {"train_ratio": train_ratio, "min_steps": 50, "batch_size": 24}
    config = make_config(mode="scratch", **LIKE | own)  # A step sees 4, 8 and 20 images.
    assert trial_s(config, SHAPE, SPEEDS) == pytest.approx(DRIVER + 50 * worth / 10 + 2 * 0.4)


def test_seconds_of_frozen_trials() -> None:
    for mode, speed in (("freeze", 1e6), ("probe", 1e7)):
        own = {"mode": "probe", "lr": None, "epochs": 1} if mode == "probe" else {}
        config = make_config(seeds=3, **LIKE | own)
        expected = products(config, SHAPE) / speed + RECORD
        assert trial_s(config, SHAPE, SPEEDS) == pytest.approx(expected)


def test_only_what_was_measured_is_estimated() -> None:
    for speeds, known in (
        (replace(SPEEDS, train=None), {"freeze", "probe", "partial"}),
        (replace(SPEEDS, forward=None), {"freeze", "probe", "partial"}),
        (replace(SPEEDS, sweep=None), {*MODES} - {"freeze"}),
        (replace(SPEEDS, probe=None), {"freeze", "finetune", "scratch"}),
        (Speeds(), set()), (SPEEDS, {*MODES}),
    ):  # fmt: skip
        cells = cells_of(ask(mode=MODES, train_ratio=(0.1,)), SHAPE, speeds)
        assert {mode for mode, _ in cells} == known


def group(mode: Mode, seconds: float, number: float) -> TrialGroup:
    config = make_config(mode=mode)
    return TrialGroup(config, seconds, number, own=mode == "freeze")


NETS, HEADS = group("finetune", 10, 8), group("freeze", 2, 5)


@pytest.mark.parametrize(("trials", "at_once", "seconds"), [
    ([NETS], 9, 20),
    ([NETS], 2, 40),
    ([NETS, HEADS], 9, 20),  # The driver sweeps for ten seconds meanwhile.
    ([HEADS, HEADS, HEADS], 9, 30),
    ([replace(HEADS, own=False)], 9, 2.5),
    # Not less than the longest trial, or the work of the driver.
    ([group("finetune", 10, 1), group("finetune", 1, 2)], 9, 10),
    ([group("finetune", 0.001, 100)], 9, 100 * DRIVER),
    ([], 9, 0),
])  # fmt: skip
def test_trials_share_places(trials: list[TrialGroup], at_once: int, seconds: float) -> None:
    assert stage_s(trials, FOUR, at_once) == pytest.approx(seconds)


def test_trials_an_hour_go_to_each_cell_equally_often() -> None:
    groups = [group("finetune", 10, 1), group("finetune", 70, 1), group("freeze", 1, 1)]
    # 80 seconds of networks in four places make three trials in 20.
    assert trials_an_hour(FOUR, 9, groups) == pytest.approx(3 * 3600 / 20)


@pytest.mark.parametrize(("mode", "views", "soon_s", "start_s", "features_s"), [
    # Workers start for the frozen network and for the trials, unless there are few images.
    (("freeze", "finetune"), 800, 1.9, 10 + 3 + 2 * 5, 2),
    (("freeze", "finetune"), 800, 2, 10 + 3 + 5, 2),
    (("freeze", "finetune"), 0, 0, 10 + 3 + 5, 0),
    (("freeze",), 800, 2, 10, 2),
    (("freeze",), 800, 1.9, 10 + 3 + 5, 2),
])  # fmt: skip
def test_by_stages(
    mode: tuple[Mode, ...], views: int, soon_s: float, start_s: float, features_s: float
) -> None:
    settings = ask(mode=mode, train_ratio=(0.1,), epochs=2, trials=8, confirm_seeds=4)
    before = Before(10, 3, 5, 60, 20, views, extractors=4, soon_s=soon_s)
    found = eta(settings, FOUR, before, SPEEDS, SHAPE)
    assert found is not None
    assert (found["start"], found["decoding"], found["features"]) == (start_s, 3, features_s)
    if "finetune" in mode:
        net, tested = NET, NET + 0.4
        frozen = make_config(seeds=8, **LIKE)
        swept = 4 * trial_s(frozen, SHAPE, SPEEDS)  # type: ignore[operator]
        # Four networks in four places; the driver sweeps meanwhile.
        assert found["search"] == pytest.approx(max(net, swept + 4 * DRIVER))
        # Three networks on three seeds each; four confirm; four without the auxiliary task, and
        # the winner again. The sweeps of few seeds take less.
        assert found["confirming"] == pytest.approx((9 * net + 4 * tested + 5 * tested) / 4)


def test_on_cores_the_search_alone_runs_in_few_places() -> None:
    settings = ask(mode=("finetune",), train_ratio=(0.1,), epochs=2, trials=8, confirm=False)
    found = eta(settings, Capacity(8, 8, 0), NOTHING, SPEEDS, SHAPE)
    assert found is not None
    assert (found["search"], found["confirming"]) == pytest.approx((8 * NET / 3, NET + 0.4))
    settings = ask(mode=("finetune",), train_ratio=(0.1,), epochs=2, trials=8, confirm_seeds=8)
    found = eta(settings, Capacity(8, 8, 0), NOTHING, SPEEDS, SHAPE)
    assert found is not None
    # Three on three seeds; eight confirm; without the auxiliary task five on three seeds at most,
    # and eight; and the winner again.
    assert found["confirming"] == pytest.approx((9 * NET + (8 + 15 + 9) * (NET + 0.4)) / 8)


@pytest.mark.parametrize(("given", "repeats", "trials"), [
    # Three configurations of two modes on three seeds; two modes and a control on five, the winner,
    # and five configurations of the control on three, which count as if they read the test set.
    ({}, 18, 31), ({"aux_weight": (0.0,)}, 18, 11), ({"aux_weight": (0.5,)}, 18, 31),
    ({"trials": 3}, 6, 16), ({"trials": 2}, 0, 16), ({"confirm": False}, 0, 1),
])  # fmt: skip
def test_what_follows_the_search(given: dict[str, Any], repeats: int, trials: int) -> None:
    settings = ask(mode=("finetune", "scratch"), train_ratio=(0.1,), epochs=2, **given)
    found = eta(settings, Capacity(1, 1, 1), NOTHING, SPEEDS, SHAPE)
    assert found is not None
    assert found["confirming"] == pytest.approx(repeats * NET + trials * (NET + 0.4))


@pytest.mark.parametrize(("trials", "repeats"), [(9, 15), (8, 0)])
def test_a_probe_counts_for_its_one_trial_where_a_control_is_tuned(
    trials: int, repeats: int
) -> None:
    # One trial of the probe; the network has the rest, and is tuned from eight on.
    settings = ask(mode=("probe", "finetune"), train_ratio=(0.1,), epochs=2, trials=trials)
    stages = confirming_stages(settings, groups_of(settings, SHAPE, SPEEDS))
    assert sum(group.number for group in stages[1] if len(stages) == 3) == repeats


def test_the_driver_shares_seeds_among_threads_if_no_network_learns() -> None:
    alone = trial_s(make_config(seeds=8, **LIKE), SHAPE, SPEEDS)
    assert alone
    for mode, threads in ((("freeze",), 4), (("freeze", "finetune"), 1)):
        settings = ask(mode=mode, train_ratio=(0.1,), epochs=2)
        group, *_ = groups_of(settings, SHAPE, SPEEDS, cores=4)
        assert group.seconds == pytest.approx(RECORD + (alone - RECORD) / threads)


def test_without_a_speed_there_is_no_eta() -> None:
    settings = ask(mode=("freeze",), train_ratio=(0.1,))
    for lost, views in (("sweep", 0), ("forward", 800)):
        before, speeds = replace(NOTHING, views=views), replace(SPEEDS, **{lost: None})
        assert eta(settings, FOUR, before, speeds, SHAPE) is None


def whole(cpus: int, gpus: int, images: int, trials: int, mode: tuple[Mode, ...]) -> float:
    settings = ask(mode=mode, train_ratio=(0.1, 0.8), trials=trials)
    before = Before(10, 3, 5, images, 20, images, gpus or cpus)
    speeds = replace(SPEEDS, sweep=PER_S, probe=PER_S)
    found = eta(
        settings, Capacity.of(settings, gpus, cpus), before, speeds, plain_shape(images, 2, 512)
    )
    assert found
    return sum(found.values())


@given(
    st.integers(1, 64), st.integers(0, 64), st.sampled_from([(0, 0), (1, 1), (1, 4), (4, 64)]),
    st.integers(100, 10_000), st.integers(2 * len(MODES), 500),
    st.sampled_from([("freeze",), ("finetune",), ("freeze", "finetune"), MODES]),
)  # fmt: skip
def test_more_places_never_take_longer(
    cpus: int, more: int, gpus: tuple[int, int], images: int, trials: int, mode: tuple[Mode, ...]
) -> None:
    few, many = gpus
    here = whole(cpus, few, images, trials, mode)
    assert whole(cpus + more, many, images, trials, mode) <= here + 1e-9
