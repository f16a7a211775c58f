"""Frozen trials never block a network, and short ones need no worker."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from study.config.settings import Settings
from study.errors import NodeError
from study.execution import jobs as module
from study.execution.jobs import Jobs
from study.execution.study_trials import StudyTrials
from study.search.cells import Cell
from study.search.confirmation import Planned
from study.search.queue import is_frozen
from study.trials.sweep import Swept, number_of
from study.trials.trial_context import TrialContext
from tests.support.studies.builders import make_epoch, make_settings
from tests.support.studies.counting_journal import CountingJournal
from tests.support.study_fixtures import Patch

MIXED = ("finetune", "freeze")


class Study:
    """A study's jobs; sweeps are made up, and short at ratios up to `short_to`."""

    def __init__(self, folder: Path, patch: Patch, short_to: float = 1.0, **given: Any) -> None:
        plain = {"mode": MIXED, "train_ratio": (0.1, 0.4), "trials": 12, "epochs": 1}
        fixed = {"data": "photos", "name": "mine", "cache": folder, "confirm": False}
        self.settings: Settings = make_settings(**fixed | plain | {"design": "joint"} | given)
        self.journal, self.sweeps = CountingJournal(), list[list[int]]()
        patch.setattr(module, "sweep", self._sweep)
        patch.setattr(module, "is_short", lambda config, *_: config.train_ratio <= short_to)
        patch.setattr(Jobs, "_inputs", None)
        patch.setattr(Jobs, "_shape", None)
        trials = StudyTrials(self.settings, folder, self.journal, None)
        self.trials, alone = trials, self.settings.mode == ("freeze",)
        context = TrialContext.here(self.settings, "images/none", folder)
        self.jobs = Jobs(trials, context, alone)

    def _sweep(self, batch: Sequence[Planned], *_: object) -> list[Swept]:
        self.sweeps.append([number_of(p) for p in batch])
        return [Swept(number_of(p), (make_epoch(),)) for p in batch]

    def modes(self) -> dict[str, int]:
        """How many trials of each mode have ended."""
        ended = [r.config.mode for r in self.journal.records if r.status == "done"]
        return {mode: ended.count(mode) for mode in set(ended)}

    def end(self, batch: list[Planned]) -> None:
        """A worker has ended a job."""
        for record in self.trials.open(batch):
            self.trials.report(record, [make_epoch()])
            self.trials.end(record)


def test_four_places_get_four_networks_however_many_frozen_trials_are_drawn(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    study = Study(tmp_path, monkeypatch, mode=("finetune", "scratch", "freeze"), trials=40)
    study.jobs.need_workers()
    given = [study.jobs.next() for _ in range(4)]
    assert [len(batch or []) for batch in given] == [1] * 4
    assert all(batch and not is_frozen(batch[0]) for batch in given)
    # What was drawn on the way is made between two steps of Ray Tune, one batch at a time.
    before = study.modes()
    while study.jobs._own:
        study.jobs.sweep_one()
    assert study.modes().get("freeze", 0) > before.get("freeze", 0)


def test_a_long_sweep_takes_a_place_as_a_network_does(tmp_path: Path, monkeypatch: Patch) -> None:
    study = Study(tmp_path, monkeypatch, short_to=0.1, design="cells", trials=4)
    assert study.jobs.need_workers()
    jobs = [study.jobs.next(), study.jobs.next(), study.jobs.next()]
    assert [[Cell.of(p.config) for p in batch or []] for batch in jobs] == [
        [("freeze", 0.4)], [("finetune", 0.4)], [("finetune", 0.1)],
    ]  # fmt: skip
    for batch in jobs:
        study.end(batch or [])
    assert study.modes() == {"finetune": 2, "freeze": 1}
    winner = study.jobs.next()
    assert winner
    assert winner[0].winner, "which a worker makes as well"
    assert study.modes() == {"finetune": 2, "freeze": 2}
    study.end(winner)
    assert study.jobs.next() is None


def test_a_network_waits_for_one_sweep_at_a_time(tmp_path: Path, monkeypatch: Patch) -> None:
    study = Study(tmp_path, monkeypatch, trials=60, design="cells")
    monkeypatch.setattr(module, "AHEAD_S", -1)
    given: list[list[Planned]] = []
    while job := study.jobs.next():
        given.append(job)
    assert job == []
    assert given, "networks, none of which has ended"
    assert [len(study.sweeps), len(study.jobs._own)] == [1, 1]
    assert study.jobs.next() == []
    assert [len(study.sweeps), len(study.jobs._own)] == [2, 0]
    for batch in given:
        study.end(batch)
    study.jobs._own.extend([[]] * 3)
    monkeypatch.setattr(study.jobs, "sweep_one", study.jobs._own.popleft)
    winner = study.jobs.next()
    assert winner, "nothing else waits for Ray Tune's loop"
    assert winner[0].winner


def test_a_worker_is_idle_while_a_stage_waits_for_others(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    study = Study(tmp_path, monkeypatch, mode=("finetune",), trials=2)
    jobs = study.jobs
    one, two = jobs.next(), jobs.next()
    assert one
    assert two
    jobs.starts("a")
    assert not jobs.is_idle(1), "one worker is there, and has a job"
    jobs.starts("b")
    assert [jobs.is_idle(n) for n in (1, 2)] == [True, False]
    study.end(one)
    jobs.ends("a")
    assert (jobs.next(), jobs.stage_waits()) == ([], True)
    jobs.again(one)
    assert not jobs.stage_waits(), "there is something to do"
    assert jobs.next() == one
    study.end(two)
    assert not jobs.stage_waits(), "all have ended"


def test_the_search_alone_has_few_jobs_at_once(tmp_path: Path, monkeypatch: Patch) -> None:
    study = Study(
        tmp_path, monkeypatch, mode=("finetune",), trials=6, train_ratio=(0.1,), confirm=True
    )
    jobs = Jobs(study.trials, study.jobs.context, alone=False, searching=2)
    one, two = jobs.next(), jobs.next()
    assert one
    assert two
    assert jobs.next() == []
    jobs.again(two)
    assert (jobs.next(), jobs.next()) == (two, [])
    study.end(one)
    three = jobs.next()
    assert (bool(three), jobs.next()) == (True, [])
    study.end([*two, *(three or [])])
    while job := jobs.next():
        study.end(job)
        if job[0].kind == "repeat":
            break
    assert all(jobs.next() for _ in range(3)), "what follows the search has all places"


def test_a_node_of_a_cluster_keeps_no_place(tmp_path: Path, monkeypatch: Patch) -> None:
    study = Study(tmp_path, monkeypatch, mode=("finetune",), trials=2, address="auto")
    jobs = study.jobs
    one, two = jobs.next(), jobs.next()
    jobs.starts("a")
    jobs.starts("b")
    study.end(one or [])
    jobs.ends("a")
    # The node of the other may die: its trial then needs the place.
    assert two
    assert (jobs.next(), jobs.is_idle(1)) == ([], False)


def test_no_worker_keeps_its_place_in_the_last_stage(tmp_path: Path, monkeypatch: Patch) -> None:
    study = Study(tmp_path, monkeypatch, mode=("finetune",), train_ratio=(0.1,), trials=2)
    jobs = study.jobs
    for name in "ab":
        jobs.starts(name)
    for job in [jobs.next(), jobs.next()]:
        study.end(job or [])
    winner = jobs.next()
    assert winner
    assert winner[0].winner
    assert (jobs.next(), jobs.is_idle(1), jobs.stage_waits()) == ([], False, False)


def test_frozen_modes_alone_need_no_worker(tmp_path: Path, monkeypatch: Patch) -> None:
    study = Study(tmp_path, monkeypatch, mode=("freeze",), trials=40)
    assert not study.jobs.need_workers()
    assert study.modes() == {"freeze": 41}, "the winner was trained again for its weights"
    assert [len(batch) for batch in study.sweeps][-1] == 1
    assert study.jobs.next() is None


def test_networks_wait_half_a_minute_at_most(tmp_path: Path, monkeypatch: Patch) -> None:
    clock = iter(range(0, 10_000, 18))
    monkeypatch.setattr("study.execution.jobs.time.monotonic", lambda: next(clock))
    study = Study(tmp_path, monkeypatch, design="cells", trials=16)
    # A script of frozen trials first.
    study.jobs._own.extend([[]] * 5)
    monkeypatch.setattr(study.jobs, "sweep_one", study.jobs._own.popleft)
    assert study.jobs.need_workers()
    assert len(study.jobs._own) == 4, "at 18 seconds one is made, at 36 none"


def test_an_interrupted_sweep_is_made_again_under_the_same_numbers(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    study = Study(tmp_path, monkeypatch, mode=("freeze",), train_ratio=(0.1,), trials=20)
    sweeps = iter([study._sweep, None])

    def interrupted(*given: Any) -> list[Swept]:
        if make := next(sweeps):
            return make(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "sweep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study.jobs.need_workers()
    records = study.journal.records
    assert [r.status for r in records] == ["done"] * 16 + ["running"] * 4
    before = [(r.trial, r.draw, r.config) for r in records]
    for record in records[16:]:
        record.status = "interrupted"
    monkeypatch.setattr(module, "sweep", study._sweep)
    trials = StudyTrials(study.settings, tmp_path, study.journal, None)
    context = TrialContext.here(study.settings, "images/none", tmp_path)
    assert not Jobs(trials, context, alone=True).need_workers()
    assert study.sweeps == [[*range(16)], [*range(16, 20)], [20]]
    assert [(r.trial, r.draw, r.config) for r in records[:20]] == before


@pytest.mark.parametrize(("alone", "threads"), [(True, 3), (False, 1)])
def test_a_sweep_has_all_cores_if_no_network_needs_them(
    tmp_path: Path, monkeypatch: Patch, alone: bool, threads: int
) -> None:
    monkeypatch.setattr(module, "usable_cpus", lambda: 3)
    monkeypatch.setattr("study.execution.jobs.ImageSet.open", lambda *_: None)
    settings = make_settings(cache=tmp_path)
    jobs = Jobs(None, TrialContext.here(settings, "images/none", tmp_path), alone)  # type: ignore[arg-type]
    assert jobs._inputs.threads == threads


def test_a_cache_that_is_gone_stops_the_driver_s_own_sweeps(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    inputs = Jobs.__dict__["_inputs"]
    study = Study(tmp_path, monkeypatch, mode=("freeze",), trials=2)
    monkeypatch.setattr(Jobs, "_inputs", inputs)
    with pytest.raises(NodeError, match=r"images/none/about\.json is gone"):
        study.jobs.need_workers()
    assert {r.status for r in study.journal.records} == {"running"}, "they are resumed later"
