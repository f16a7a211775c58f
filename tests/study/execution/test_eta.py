import pytest

from study.execution.eta import seconds_left
from study.records.trial_record import Kind, Status, TrialRecord
from tests.support.studies.builders import make_config, make_record
from tl_core.config import Mode, TrialConfig


def ended(
    mode: Mode, ratio: float, wall_s: float, kind: Kind = "search", status: Status = "done"
) -> TrialRecord:
    record = make_record(status=status, mode=mode, train_ratio=ratio)
    record.wall_s, record.kind = wall_s, kind
    return record


def planned(mode: Mode, ratio: float, seed: int = 0) -> TrialConfig:
    return make_config(mode=mode, train_ratio=ratio, seed=seed)


SEARCH = [
    ended("freeze", 0.1, 2.0),
    ended("finetune", 0.1, 20.0),
    ended("finetune", 0.8, 160.0),
    ended("finetune", 0.8, 5.0, status="pruned"),
]


def test_each_trial_lasts_as_long_as_one_of_its_cell() -> None:
    to_come = [planned("freeze", 0.1), planned("finetune", 0.1), planned("finetune", 0.8)]
    assert seconds_left(to_come, [], SEARCH, 1) == 182
    assert seconds_left(to_come, [], SEARCH, 2) == 91


@pytest.mark.parametrize(("ratio", "seconds"), [(0.01, 20), (0.2, 20), (0.4, 160)])
def test_nearest_ratio_of_the_mode_stands_in(ratio: float, seconds: float) -> None:
    assert seconds_left([planned("finetune", ratio)], [], SEARCH, 1) == seconds


def test_last_trial_of_a_cell_says_more_than_those_before() -> None:
    shorter = ended("freeze", 0.1, 0.5, "confirm")
    assert seconds_left([planned("freeze", 0.1, 1)], [shorter], [*SEARCH, shorter], 1) == 0.5


def test_what_has_run_counts_by_its_epochs() -> None:
    half = make_record(7, "running", (0.5,), mode="finetune", train_ratio=0.8)
    over = make_record(8, "failed", (0.5,), mode="finetune", train_ratio=0.1)
    to_come = [half.config, over.config]
    assert seconds_left(to_come, [half, over], SEARCH, 1) == 80


def test_nothing_is_left_of_nothing() -> None:
    assert seconds_left([], [], SEARCH, 0) == 0
