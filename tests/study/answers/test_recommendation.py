"""What to do, in a few sentences."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.analysis.estimates import Cell, Confirmed
from study.analysis.study_data import StudyData
from study.answers.recommendation import recommendation, resolution
from tests.support.studies.builders import make_confirmed, make_record
from tests.support.studies.image_tables import seen

NET, PROBE, FREEZE = Cell("lp_ft", 0.4), Cell("probe", 0.4), Cell("freeze", 0.4)


def data(
    ranking: list[Cell], confirmed: list[Confirmed], seconds: dict[Cell, float] | None = None
) -> StudyData:
    records: list[Any] = []
    for cell, wall_s in (seconds or {}).items():
        record = make_record(mode=cell.mode, train_ratio=cell.train_ratio)
        record.kind, record.wall_s = "confirm", wall_s
        records.append(record)
    found = StudyData(Path(), {}, records)
    vars(found).update(ranking=ranking, confirmed=confirmed, is_split=False)
    return found


def hits(accuracy: float, n: int = 200, seeds: int = 3) -> np.ndarray:
    return np.tile(np.arange(n) < round(accuracy * n), (seeds, 1)).astype(float)


@pytest.mark.parametrize(
    ("rival", "seconds", "said"),
    [
        (0.9, 4.0, "Freezing is not distinguishable from it, and about 10 times cheaper to train."),
        (0.9, 40.0, "Freezing is not distinguishable from it."),
        (0.5, 4.0, "Freezing is 40.0 points behind, and about 10 times cheaper to train."),
        (1.0, 4.0, "Freezing is 10.0 points ahead, and about 10 times cheaper to train."),
    ],
)
def test_a_network_is_compared_with_the_best_frozen_mode(
    rival: float, seconds: float, said: str
) -> None:
    confirmed = [*seen(*NET, hits(0.9)), *seen(*FREEZE, hits(rival)), *seen(*PROBE, hits(0.7))]
    found = recommendation(data([NET, FREEZE, PROBE], confirmed, {NET: 40.0, FREEZE: seconds}))
    start = (
        "Use fine-tuning after the heads (lp_ft) at learning rate 0.001, with 40 % of the images "
        "for training. Expect an accuracy of 90.0 % ("
    )
    assert found.startswith(start)
    assert found.endswith(f" on new photos. {said}")


def test_a_frozen_winner_is_cheap_anyway_and_without_outputs_nothing_is_expected() -> None:
    found = recommendation(data([FREEZE, NET], make_confirmed(*FREEZE, [0.9, 0.92])))
    assert found.startswith("Use freezing at learning rate 0.001, with 40 % of the images for")
    assert " Its accuracy on these test images is 91.0 % (" in found
    assert recommendation(data([], [])) == ""


def test_the_smallest_difference_that_shows() -> None:
    confirmed = [*seen(*NET, hits(0.9)), *seen(*FREEZE, hits(0.7))]
    found = resolution(data([NET, FREEZE], confirmed))
    assert found
    assert found.startswith("On 200 test images, with 3 seeds, two modes must be ")
    assert resolution(data([NET], seen(*NET, hits(0.9)))) is None, "there is nothing to compare"
    plain = make_confirmed(*NET, [0.5, 0.6]) + make_confirmed(*FREEZE, [0.5, 0.7])
    assert resolution(data([NET, FREEZE], plain)) is None, "on these test images alone"


def test_groups_and_given_parts_are_named() -> None:
    confirmed = [*seen(*NET, hits(0.9, 40)), *seen(*FREEZE, hits(0.7, 40))]
    groups = np.arange(40) // 5
    grouped = [
        replace(c, images=replace(c.images, groups=groups, named=True))
        for c in confirmed
        if c.images
    ]
    study = data([NET, FREEZE], grouped, {NET: 1.0, FREEZE: 1.0})
    assert " Expect an accuracy of 90.0 % (" in recommendation(study)
    assert "on photos of new groups." in recommendation(study)
    found = str(resolution(study))
    assert found.startswith("On 40 test images of 8 groups, with 3 seeds, two modes must be ")
    assert found.endswith("more test groups or seeds would show smaller differences.")
    vars(study).update(is_split=True)
    start = (
        "Use fine-tuning after the heads (lp_ft) at learning rate 0.001, with 40 % of the given "
    )
    assert recommendation(study).startswith(f"{start}training images for training.")
    copies = [replace(c, images=replace(c.images, groups=groups)) for c in confirmed if c.images]
    assert "on new photos." in recommendation(data([NET, FREEZE], copies))
