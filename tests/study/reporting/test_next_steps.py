from pathlib import Path

import pytest

from study.analysis.estimates import Cell
from study.analysis.study_data import StudyData
from study.reporting.next_steps import next_steps
from tests.study.analysis.test_extrapolation import ON_CURVE, curve
from tests.support.studies.builders import make_record, make_settings


@pytest.mark.parametrize(("errors", "more"), [
    (ON_CURVE, ["Twice the labels, for about +0.7 points: add photos to the folder, and run a new "
                "study:"]),
    ((20, 20, 20, 20), []),
])  # fmt: skip
def test_more_labels_more_trials_and_another_network(
    errors: tuple[int, ...], more: list[str]
) -> None:
    trials = curve(errors)
    ratios = sorted({c.train_ratio for c in trials})
    settings = make_settings(
        data="photos", mode=["freeze"], train_ratio=[*map(str, ratios)], name="mine"
    )
    records = [make_record(i, mode="freeze", train_ratio=ratio) for i, ratio in enumerate(ratios)]
    data = StudyData(Path("mine"), {"data": {"classes": {"cat": 10, "dog": 9}}}, records)
    vars(data).update(settings=settings, confirmed=trials, ranking=[Cell("freeze", 0.64)])
    steps = list(next_steps(data))
    assert [step.text for step in steps] == [
        *more, "More trials for cells that are hardly tuned:",
        "The same with another pretrained network:",
    ]  # fmt: skip
    assert steps[-2].command == "python study/run.py --extend mine --trials 28"
    assert all("--data photos" in step.command for step in (steps[0], steps[-1]) if more)
    assert "--backbone" in steps[-1].command
