from typing import Any

import pytest

from study.diagnosis.observed import expected_s
from study.records.trial_record import TrialRecord
from tests.support.studies.builders import make_config, make_record, plain_shape

SHAPE = plain_shape(1000, 2, 512)


def record(status: Any = "done", epochs: int = 2, wall_s: float = 0.0, **given: Any) -> TrialRecord:
    """A trial of two epochs over 100 images at ratio 0.1, or as given."""
    plain: dict[str, Any] = {"mode": "finetune", "train_ratio": 0.1, "epochs": 2, "min_steps": 0}
    made = make_record(0, status, (0.5,) * epochs, None, **plain | given)
    made.wall_s = wall_s
    return made


def seconds(records: list[TrialRecord], **given: Any) -> float:
    plain = {"mode": "finetune", "train_ratio": 0.4, "epochs": 2, "min_steps": 0}
    return expected_s(make_config(**plain | given), records, SHAPE)


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
