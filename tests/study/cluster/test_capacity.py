import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from study.cluster.capacity import Capacity
from tests.support.studies.builders import make_settings


def capacity(gpus: int, cpus: int, trials_per_gpu: int = 1) -> Capacity:
    settings = make_settings(mode=("freeze", "finetune"), trials_per_gpu=trials_per_gpu)
    return Capacity.of(settings, gpus, cpus)


@pytest.mark.parametrize(("gpus", "cpus", "trials_per_gpu", "full", "resources"), [
    (0, 2, 1, 2, {"CPU": 1.0}), (0, 64, 1, 64, {"CPU": 1.0}),
    (4, 64, 2, 8, {"CPU": 1.0, "GPU": 0.5}), (4, 16, 1, 4, {"CPU": 1.0, "GPU": 1.0}),
    (4, 2, 1, 4, {"CPU": 0.5, "GPU": 1.0}),
])  # fmt: skip
def test_places_and_what_each_asks_for(
    gpus: int, cpus: int, trials_per_gpu: int, full: int, resources: dict[str, float]
) -> None:
    here = capacity(gpus, cpus, trials_per_gpu)
    assert here.full == full
    assert here.resources() == resources


@example(cpus=1, gpus=16, trials_per_gpu=8)
@given(cpus=st.integers(1, 512), gpus=st.integers(0, 16), trials_per_gpu=st.integers(1, 8))
def test_the_cores_are_enough_for_all_places(cpus: int, gpus: int, trials_per_gpu: int) -> None:
    here = capacity(gpus, cpus, trials_per_gpu)
    assert 0 < here.full * here.resources()["CPU"] <= cpus + 1e-9


@pytest.mark.parametrize(
    ("gpus", "cpus", "trials", "jobs", "expected"),
    [
        (0, 2, 64, None, 2), (0, 64, 64, None, 16), (0, 64, 400, None, 64), (0, 64, 16, None, 4),
        (0, 64, 10, None, 3), (4, 64, 16, None, 4), (0, 64, 16, 32, 32),
    ],
)  # fmt: skip
def test_places_of_the_search(
    gpus: int, cpus: int, trials: int, jobs: int | None, expected: int
) -> None:
    asked = {} if jobs is None else {"jobs": jobs}
    settings = make_settings(mode=("freeze", "finetune"), trials=trials, **asked)
    assert Capacity.of(settings, gpus, cpus).searching(settings) == expected
