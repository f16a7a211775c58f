import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from study.cluster.capacity import Capacity
from tests.support.studies.builders import make_settings
from tl_core.config import MODES

MIXED, FREEZE, FULL = ("freeze", "finetune"), ("freeze",), ("finetune", "scratch")


def capacity(mode: tuple[str, ...], gpus: int, cpus: int, trials_per_gpu: int = 1) -> Capacity:
    per_gpu = {"trials_per_gpu": trials_per_gpu} if mode != FREEZE else {}
    return Capacity.of(make_settings(mode=mode, **per_gpu), gpus, cpus)


@pytest.mark.parametrize(
    ("mode", "gpus", "cpus", "trials_per_gpu", "full", "frozen"),
    [
        (MIXED, 0, 2, 1, 2, 1),
        (MIXED, 0, 64, 1, 64, 16),
        (MIXED, 4, 16, 2, 8, 2),
        (FREEZE, 0, 2, 1, 0, 2),
        (FREEZE, 4, 16, 1, 0, 16),
        (FULL, 0, 2, 1, 2, 0),
        (FULL, 4, 16, 2, 8, 0),
    ],
)
def test_places(
    mode: tuple[str, ...], gpus: int, cpus: int, trials_per_gpu: int, full: int, frozen: int
) -> None:
    found = capacity(mode, gpus, cpus, trials_per_gpu)
    assert (found.full, found.frozen) == (full, frozen)


def test_on_two_cores_each_network_leaves_a_quarter_of_a_core() -> None:
    two = capacity(MIXED, 0, 2)
    assert two.resources("freeze") == {"CPU": 0.25}
    assert two.resources("finetune") == {"CPU": 0.75}


@pytest.mark.parametrize("mode", [FREEZE, FULL])
def test_what_is_alone_takes_whole_cores(mode: tuple[str, ...]) -> None:
    assert capacity(mode, 0, 2).resources(mode[0]) == {"CPU": 1.0}


def test_only_networks_that_learn_ask_for_a_gpu() -> None:
    eight = capacity(MODES, 4, 64, 2)
    asked = {mode: eight.resources(mode) for mode in MODES}
    # The tenth of a core that each of eight networks leaves, wherever it runs.
    assert asked.pop("freeze") == {"CPU": 0.1}
    assert set(map(str, asked.values())) == {"{'CPU': 0.9, 'GPU': 0.5}"}


@example(cpus=1, gpus=16, trials_per_gpu=8)
@given(cpus=st.integers(1, 512), gpus=st.integers(0, 16), trials_per_gpu=st.integers(1, 8))
def test_frozen_trials_fit_beside_every_full_one(cpus: int, gpus: int, trials_per_gpu: int) -> None:
    here = capacity(MIXED, gpus, cpus, trials_per_gpu)
    sliver, full = here.resources("freeze")["CPU"], here.resources("finetune")["CPU"]
    assert sliver > 0
    assert here.full * full + here.frozen * sliver <= cpus + 1e-9
    if not gpus:
        assert (here.full + 1) * full > cpus


@pytest.mark.parametrize(
    ("mode", "gpus", "cpus", "trials", "expected"),
    [
        (FREEZE, 0, 2, 64, 2),
        (FULL, 0, 2, 64, 2),
        (MIXED, 0, 2, 64, 3),
        (MIXED, 0, 2, 4, 3),
        (MIXED, 0, 64, 64, 16),
        (MIXED, 0, 64, 400, 80),
        (MIXED, 4, 64, 8, 5),
    ],
)
def test_most_at_once(
    mode: tuple[str, ...], gpus: int, cpus: int, trials: int, expected: int
) -> None:
    assert capacity(mode, gpus, cpus).most_at_once(trials) == expected
