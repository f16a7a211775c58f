import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from study.analysis.estimates import Cell
from study.analysis.study_data import StudyData
from study.config.settings import Settings
from study.records.trial_record import TrialRecord
from study.reporting.build import next_steps
from tests.study.analysis.test_extrapolation import ON_CURVE, curve
from tests.support.studies.builders import make_record, make_settings


def study(settings: Settings, records: list[TrialRecord]) -> StudyData:
    about = {"status": "done", "data": {"classes": {"cat": 10, "dog": 9}}}
    data = StudyData(Path("mine"), about, records)
    vars(data).update(settings=settings, confirmed=[], ranking=[])
    return data


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(("source", "steps", "command"), [
    ("photos", 40, "python study/run.py --data photos --backbone resnet18 --precision fp32"),
    ("demo", 199, "python study/run.py --data demo --backbone efficientnet_lite0 --precision fp32"),
    ("photos", 200, None),
])  # fmt: skip
def test_a_network_with_few_steps_gets_the_default_ones(
    source: str, steps: int, command: str | None, offline: bool
) -> None:
    settings = make_settings(
        data=source, mode=["finetune"], train_ratio=["0.1"], min_steps=str(steps), offline=offline
    )
    record = make_record(mode="finetune", train_ratio=0.1)
    record.history[-1] = replace(record.history[-1], step=steps)
    found = list(next_steps(study(settings, [record])))
    commands = {step.text: shlex.split(step.command) for step in found}
    why = "as with fewer it may not have converged:"
    more = commands.get(f"The same with at least 200 steps for each network, {why}")
    assert (more is None) == (command is None)
    if command:
        assert more
        assert more[: len(command.split())] == command.split()
        assert ("--min-steps" in more) == (source == "demo"), "the default of photos is 200"
    new = [words for words in commands.values() if "--extend" not in words]
    assert all(("--offline" in words) == offline for words in new)


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
    data = study(settings, records)
    vars(data).update(confirmed=trials, ranking=[Cell("freeze", 0.64)])
    steps = list(next_steps(data))
    assert [step.text for step in steps] == [
        *more, "More trials for cells that are hardly tuned:",
        "The same with another pretrained network:",
    ]  # fmt: skip
    assert steps[-2].command == "python study/run.py --extend mine --trials 28"
    vars(data).update(settings=settings.model_copy(update={"out": Path("my runs")}))
    assert all(step.command.endswith(" --out 'my runs'") for step in next_steps(data))
    assert all("--data photos" in step.command for step in (steps[0], steps[-1]) if more)
    assert "--backbone" in steps[-1].command


@pytest.mark.parametrize("status", ["out of time", "interrupted"])
def test_a_study_that_was_stopped_goes_on_before_it_gets_more_trials(status: str) -> None:
    settings = make_settings(data="photos", mode=["freeze"], train_ratio=["0.1"], name="mine")
    data = study(settings, [make_record(mode="freeze", train_ratio=0.1)])
    data.study["status"] = status
    first, *others = next_steps(data)
    assert first.text == "The trials that this study has not run yet:"
    assert first.command == "python study/run.py --resume mine"
    assert not any("--extend" in step.command for step in others)
