import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.slots import full_slots, most_at_once, resources
from tests.study.builders import make_settings
from tl_core.config import MODES


@pytest.mark.parametrize(
    ("gpus", "trials_per_gpu", "cpus", "expected"),
    [(0, 1, 2, 2), (0, 1, 64, 64), (4, 1, 16, 4), (4, 2, 16, 8)],
)
def test_slots(gpus: int, trials_per_gpu: int, cpus: int, expected: int) -> None:
    assert full_slots(gpus, trials_per_gpu, cpus) == expected


def test_a_frozen_trial_on_two_cores_takes_a_quarter_and_leaves_three() -> None:
    assert resources("freeze", 0, 1, 2) == {"CPU": 0.25}
    assert resources("finetune", 0, 1, 2) == {"CPU": 0.75}


def test_only_networks_that_learn_ask_for_a_gpu() -> None:
    asked = {mode: resources(mode, 4, 2, 64) for mode in MODES}
    assert asked.pop("freeze") == {"CPU": 0.1}
    assert set(map(str, asked.values())) == {"{'CPU': 0.9, 'GPU': 0.5}"}


@given(
    cpus=st.integers(1, 512),
    gpus=st.integers(0, 16),
    trials_per_gpu=st.integers(1, 8),
)
def test_frozen_trials_fit_beside_every_full_one(cpus: int, gpus: int, trials_per_gpu: int) -> None:
    slots = full_slots(gpus, trials_per_gpu, cpus)
    sliver = resources("freeze", gpus, trials_per_gpu, cpus)["CPU"]
    full = resources("finetune", gpus, trials_per_gpu, cpus)["CPU"]
    assert sliver > 0
    assert slots * (full + sliver) <= cpus + 1e-9
    if not gpus:
        assert (slots + 1) * full > cpus


@pytest.mark.parametrize(
    ("mode", "gpus", "cpus", "trials", "expected"),
    [
        (["freeze"], 0, 2, 64, 2),
        (["finetune"], 0, 2, 64, 2),
        (["freeze", "finetune"], 0, 2, 64, 3),
        (["freeze", "finetune"], 0, 64, 64, 16 + 32),
        (["freeze", "finetune"], 4, 64, 64, 8),
    ],
)
def test_most_at_once(mode: list[str], gpus: int, cpus: int, trials: int, expected: int) -> None:
    assert most_at_once(make_settings(mode=mode, trials=trials), gpus, cpus) == expected
