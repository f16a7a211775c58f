"""What a study leaves of its trials."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from study.cluster.capacity import Capacity
from study.execution.search import search
from study.execution.study_trials import StudyTrials
from study.trials.trial_context import checkpoint_name
from tests.study.execution.test_jobs import Study
from tests.support.study_fixtures import Patch


def write_checkpoints(folder: Path, *trials: int) -> None:
    for trial in trials:
        file = folder / checkpoint_name(trial)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"a state")


def test_only_a_trial_that_is_new_waits_for_the_disk(tmp_path: Path, monkeypatch: Patch) -> None:
    study, disk = Study(tmp_path, monkeypatch, mode=("finetune",), trials=2), MagicMock()
    monkeypatch.setattr(study.journal, "together", disk)
    one, two = study.jobs.next() or [], study.jobs.next() or []
    records = study.trials.open([*one, *two])
    assert [record.trial for record in records] == [0, 1]
    assert study.trials.open(two) == records[1:]
    study.end(one)
    assert (study.trials.open(one), study.trials.open([])) == ([], [])
    assert disk.call_count == 1


def test_checkpoints_stay_only_for_trials_that_go_on(tmp_path: Path, monkeypatch: Patch) -> None:
    study = Study(tmp_path, monkeypatch, mode=("finetune",), train_ratio=(0.1,), trials=2)
    journal, settings = study.journal, study.settings
    one, two = study.jobs.next() or [], study.jobs.next() or []
    study.end(one)
    study.trials.open(two)
    # A worker has written the first after its trial had ended; then the study was stopped.
    write_checkpoints(tmp_path, 0, 1)
    journal.records[1].status = "interrupted"
    again = StudyTrials(settings, tmp_path, journal, None)
    again.remove_checkpoints()
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["1.ckpt"]
    # The search chose other trials since: this one is no longer planned.
    stale = journal.start(journal.records[0].config, 9, "confirm")
    stale.status = "interrupted"
    monkeypatch.setattr(study, "trials", again)
    while batch := again.queue.next():
        study.end(batch)
    write_checkpoints(tmp_path, 9)
    search(settings, study.jobs.context, Capacity(1, 1, 0), tmp_path, journal, journal.records[-1])
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_once_ray_starts_the_clock_shows_how_long_that_takes(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    study, order = Study(tmp_path, monkeypatch, mode=("finetune",), trials=2), list[float]()
    budget: Any = SimpleNamespace(start_s=20.0, admits=lambda _: True, check=lambda: None)
    budget.left_out, given = {}, (study.settings, study.jobs.context, Capacity(1, 1, 0), tmp_path)
    ran = "study.execution.tune.run_on_workers"
    monkeypatch.setattr(ran, lambda *_: order.append(budget.start_s))
    start_ray = lambda: order.append(budget.start_s)  # noqa: E731
    search(*given, study.journal, start_ray=start_ray, budget=budget)
    assert order == [20.0, 0.0]
