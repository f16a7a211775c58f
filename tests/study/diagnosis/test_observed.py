from dataclasses import replace
from typing import Any

import pytest

from study.diagnosis.observed import Expected
from study.records.trial_record import TrialRecord
from study.search.confirmation import Planned
from tests.support.studies.builders import make_config, make_record, make_settings, plain_shape
from tests.support.studies.counting_records import CountingRecords

SHAPE = plain_shape(1000, 2, 512)


def record(status: Any = "done", epochs: int = 2, wall_s: float = 0.0, **given: Any) -> TrialRecord:
    """A trial of two epochs over 100 images at ratio 0.1, or as given."""
    plain: dict[str, Any] = {"mode": "finetune", "train_ratio": 0.1, "epochs": 2, "min_steps": 0}
    made = make_record(0, status, (0.5,) * epochs, None, **plain | given)
    made.wall_s = wall_s
    return made


def seconds(records: list[TrialRecord], **given: Any) -> float:
    plain = {"mode": "finetune", "train_ratio": 0.4, "epochs": 2, "min_steps": 0}
    numbered = [replace(record, trial=number) for number, record in enumerate(records)]
    return Expected(make_settings(), SHAPE, numbered).seconds(make_config(**plain | given))


def test_seconds_go_by_ended_trials_then_by_running_ones() -> None:
    # 2 passes over 400 images and 2 validations of 100, a third each, at 1 s an image.
    usual = 2 * 400 + 2 * 100 / 3 + 0.04
    small = 2 * 100 + 2 * 100 / 3 + 0.04
    assert seconds([]) == 0
    assert seconds([record(wall_s=10)]) == pytest.approx(10 * usual / small)
    # One that was stopped after half of its epochs would have taken twice as long.
    stopped = record("pruned", 1, wall_s=10)
    assert seconds([stopped]) == pytest.approx(20 * usual / small)
    # A whole network of another mode takes as long; the nearest ratio counts, and its fastest.
    other = record(wall_s=10, mode="scratch")
    assert seconds([other]) == pytest.approx(10 * usual / small)
    near = record(wall_s=3 * usual, train_ratio=0.4)
    assert seconds([near, record(wall_s=10)]) == pytest.approx(3 * usual)
    starts = record(wall_s=9 * usual, train_ratio=0.4)
    assert seconds([starts, near, starts]) == pytest.approx(3 * usual)
    # 1,000 images a second.
    assert seconds([record("running", 1)]) == pytest.approx(usual / 1000)
    assert seconds([record("failed", wall_s=10)]) == 0
    assert seconds([record(wall_s=10)], mode="freeze") == 0


def test_trials_of_the_search_are_counted_by_cell() -> None:
    records = [
        replace(record(train_ratio=0.4), trial=0),
        replace(record("failed"), trial=1),
        replace(record(), trial=2, kind="confirm"),
        replace(record("running"), trial=4),
    ]
    expected = Expected(make_settings(), SHAPE, records)
    assert [*expected.searched().items()] == [(("finetune", 0.4), 1), (("finetune", 0.1), 1)]
    assert [*expected.searched(but=0).items()] == [(("finetune", 0.1), 1)]
    assert [group.config for group in expected.running()] == [records[3].config]
    records.insert(3, replace(record("running"), trial=3))
    records[4].status = "failed"
    assert expected.searched() == {("finetune", 0.4): 1, ("finetune", 0.1): 1}
    assert [group.config for group in expected.running()] == [records[3].config]


def test_what_is_expected_reads_each_record_once() -> None:
    records = CountingRecords(replace(record(wall_s=10), trial=i) for i in range(1000))
    expected = Expected(make_settings(), SHAPE, records)
    trials = [Planned(make_config(mode="finetune", seed=i), "repeat", source=i) for i in range(9)]
    expected.searched()
    records.read = 0
    for trial in trials:
        assert expected.rest(trial).seconds > 0
        expected.after_search(expected.searched())
        expected.after_stage([trial])
    assert records.read == 0
    records.append(replace(record("running"), trial=1000))
    assert len(expected.running()) == 1
    assert records.read == 1
