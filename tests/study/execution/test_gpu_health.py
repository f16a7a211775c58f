"""A sick GPU is told from trials that would fail everywhere."""

import pytest

from study.execution.gpu_health import GpuHealth, Verdict

AGAIN, FAILED = Verdict(True), Verdict(False)


def retired(first: int, second: int, gpus: int = 2) -> GpuHealth:
    """Two trials have failed on GPU 0."""
    health = GpuHealth(gpus - 1)
    assert health.failed("0", first) == AGAIN
    assert health.failed("0", second).again
    assert health.retired == ["0"]
    return health


def test_two_failures_in_a_row_and_none_elsewhere_retire_a_gpu() -> None:
    health = GpuHealth(1)
    assert health.failed("0", 5) == AGAIN
    text = (
        "GPU 0 gets no more work: trials 5 and 7 failed there in a row, and none elsewhere "
        "meanwhile; they are tried on the other GPUs"
    )
    assert health.failed("0", 7) == Verdict(True, (text,))
    assert (health.holds("0"), health.holds("1")) == (True, False)
    health.over = True
    assert not health.holds("0")


def test_a_trial_that_was_on_its_way_to_a_retired_gpu_is_tried_again() -> None:
    assert retired(5, 7).failed("0", 8) == AGAIN


def test_a_trial_that_ends_well_in_between_clears_its_gpu_alone() -> None:
    health = GpuHealth(1)
    health.failed("0", 1)
    health.passed("1")
    health.passed(None)
    health.passed("0")
    health.failed("0", 2)
    assert health.retired == []
    health.passed("1")
    health.failed("0", 3)
    assert health.retired == ["0"]


def test_a_failure_elsewhere_in_between_starts_the_count_anew() -> None:
    health = GpuHealth(3)
    for gpu, trial in (("0", 1), ("1", 2), ("0", 3), ("2", 4)):
        assert health.failed(gpu, trial) == AGAIN
    assert health.retired == []


def test_a_trial_that_fails_on_two_gpus_is_at_fault() -> None:
    health = GpuHealth(1)
    assert health.failed("0", 1) == AGAIN
    assert health.failed("1", 1) == FAILED
    health.failed("0", 2)
    assert health.retired == [], "the first failure no longer counts"


@pytest.mark.parametrize(("first", "second"), [(1, 2), (1, 1)])
def test_a_gpu_gets_work_again_if_its_trials_fail_elsewhere_too(first: int, second: int) -> None:
    health = retired(first, second)
    text = "GPU 0 gets work again: the trial fails on GPU 1 as well"
    assert health.failed("1", first) == Verdict(False, (text,))
    assert health.retired == []


def test_trials_that_do_well_elsewhere_leave_it_retired() -> None:
    health = retired(1, 2)
    health.passed("1")
    assert health.retired == ["0"]
    assert health.failed("1", 3) == FAILED, "no other GPU is left"


def test_no_trial_is_tried_for_ever() -> None:
    health = GpuHealth(2)
    verdicts = []
    for i in range(3):
        verdicts.append(health.failed("0", 1).again)
        health.failed("1", 10 + i)
    assert verdicts == [True, True, False]


def test_where_every_trial_fails_all_fail_and_one_gpu_stays() -> None:
    health, waiting, failed, gpus = GpuHealth(3), [*range(64)], set[int](), "0123"
    for step in range(1000):
        gpu = gpus[step % 4]
        if not waiting:
            break
        if not health.holds(gpu):
            trial = waiting.pop(0)
            (waiting.append if health.failed(gpu, trial).again else failed.add)(trial)
    assert failed == {*range(64)}
    assert len(health.retired) < 4


def test_a_sick_gpu_fails_no_trial_of_a_study() -> None:
    """GPU 0 fails within a second; a trial takes a minute on each of the others."""
    health, waiting, done = GpuHealth(3), [*range(64)], list[int]()
    busy = dict.fromkeys("0123", (0, -1))
    for second in range(3600):
        for gpu, (end, trial) in busy.items():
            if end > second or health.holds(gpu):
                continue
            if trial >= 0 and gpu == "0":
                assert health.failed(gpu, trial).again
                waiting.append(trial)
            elif trial >= 0:
                health.passed(gpu)
                done.append(trial)
            next_one = waiting.pop(0) if waiting and not health.holds(gpu) else -1
            busy[gpu] = (second + (1 if gpu == "0" else 60), next_one)
    assert sorted(done) == [*range(64)]
    assert health.retired == ["0"]
