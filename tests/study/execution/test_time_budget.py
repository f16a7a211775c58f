"""A limit of time leaves out what would not end, and confirms what is there."""

import math
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.cluster.capacity import Capacity
from study.cluster.stores import Folder
from study.diagnosis.estimate import Speeds
from study.diagnosis.observed import UNIT, Expected
from study.execution.study_trials import StudyTrials
from study.execution.time_budget import make_time_budget
from study.search.cells import Cell
from study.search.confirmation import Planned, plan
from study.trials.trial_context import checkpoint_name
from tests.study.diagnosis.test_observed import record as make_trial
from tests.support.studies.builders import make_config, make_epoch
from tests.support.studies.counting_journal import CountingJournal
from tests.support.studies.timed_study import SHAPE, TimedStudy
from tl_core.errors import OutOfTimeError


def whole(folder: Path) -> float:
    """Seconds that the study takes without a limit."""
    study = TimedStudy(folder, CountingJournal(), math.inf)
    study.run()
    assert not study.budget.left_out
    return study.now


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.95])
def test_a_study_ends_in_time_with_its_answer_and_goes_on_later(
    tmp_path: Path, share: float
) -> None:
    takes = whole(tmp_path)
    study = TimedStudy(tmp_path, CountingJournal(), share * takes)
    study.run()
    assert study.now <= share * takes
    assert study.budget.left_out
    searched, confirmed = study.cells("search"), study.cells("confirm")
    # Both modes at the small ratio, which costs least, are whole.
    for cell in (Cell("finetune", 0.1), Cell("scratch", 0.1)):
        if share > 0.25:
            assert (searched[cell], confirmed[cell]) == (2, 2)
    assert set(confirmed.values()) == {2}, "a cell is confirmed on all seeds or on none"
    assert sum(study.cells("winner").values()) == 1
    before = len(study.journal.records)
    again = TimedStudy(tmp_path, study.journal, math.inf)
    again.run()
    assert len(study.journal.records) > before
    assert set(again.cells("search").values()) == {2}
    assert set(again.cells("search")) == set(again.cells("confirm"))
    assert plan(again.settings, again.journal.records) == []


def again_and_again(folder: Path, limit: float) -> TimedStudy:
    """The last run of a study that goes on with the same time until nothing more fits."""
    journal = CountingJournal()
    while True:
        (study := TimedStudy(folder, journal, limit)).run()
        if not study.budget.left_out or study.budget.is_stuck:
            return study


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.75])
def test_a_study_is_complete_at_last_if_it_goes_on_with_the_same_time(
    tmp_path: Path, share: float
) -> None:
    study = again_and_again(tmp_path, share * whole(tmp_path))
    assert not study.budget.is_stuck
    searched, confirmed = study.cells("search"), study.cells("confirm")
    assert set(searched.values()) == {2}
    # A trial that was left out may change the choice of a cell: then two more confirm it.
    assert (set(confirmed), {n % 2 for n in confirmed.values()}) == (set(searched), {0})
    assert plan(study.settings, study.journal.records) == []


def test_a_time_in_which_no_trial_fits_is_told_once_it_is_of_no_use(tmp_path: Path) -> None:
    study = again_and_again(tmp_path, 715.0)
    assert study.budget.is_stuck
    # One that confirms takes 900 s, its test among them, and 15 % more are kept.
    assert [*study.budget.describe()][-1] == (
        "no trial fits by itself: the shortest that is next needed about 0:05:21 more"
    )


@pytest.mark.parametrize("made", [True, False])
def test_a_time_that_was_spent_on_the_cache_may_suffice_later(tmp_path: Path, made: bool) -> None:
    study = again_and_again(tmp_path, 715.0)
    prepared: Any = SimpleNamespace(
        settings=study.settings, folder=tmp_path, capacity=Capacity(1, 1, 0), state=True,
        resources=SimpleNamespace(joined=False), end=time.monotonic() + 715,
    )  # fmt: skip
    expected = Expected(study.settings, SHAPE, study.journal.records)
    budget = make_time_budget(prepared, made, expected)
    assert budget
    trials = StudyTrials(study.settings, tmp_path, study.journal, None, budget)
    assert trials.queue.next() == [], "5 minutes lack"
    assert (budget.start_s, budget.made, budget.is_stuck) == (20, made, not made)


@pytest.mark.parametrize("found", [None, "an epoch", "a state", "an end"])
def test_a_command_that_gets_a_trial_no_further_is_of_no_use(
    tmp_path: Path, found: str | None
) -> None:
    journal = CountingJournal()
    cut = replace(make_trial("interrupted", 1), trial=1, kind="confirm")
    journal.records += [make_trial(wall_s=266.7), cut]
    store, state = Folder(tmp_path), checkpoint_name(1)
    store.write(state, b"a state after the first epoch")
    study = TimedStudy(tmp_path, journal, 210.0)
    planned = Planned(cut.config, "confirm", 0, trial=1)
    assert study.budget.admitted([planned]) == [planned]
    (record,) = study.trials.open([planned])
    if found == "an epoch":
        study.trials.report(record, [make_epoch(2)])
    elif found == "a state":
        os.utime(tmp_path / state)
        store.write(state, b"a state within the second epoch")
    elif found == "an end":
        journal.end(record, "pruned")
    study.now = 210.0
    with pytest.raises(OutOfTimeError):
        study.budget.check()
    journal.interrupt()
    assert study.budget.is_stuck == (found is None)
    told = ["in this time no trial has got any further"]
    assert [*study.budget.describe()] == told * (found is None)


def test_a_trial_that_goes_on_counts_once_and_what_it_chooses_is_confirmed(tmp_path: Path) -> None:
    one: dict[str, Any] = {"mode": ("finetune",), "train_ratio": (0.1,), "trials": 2}
    (study := TimedStudy(tmp_path, CountingJournal(), math.inf, **one)).run()
    for record in study.journal.records:
        record.wall_s = 266.7 * (record.trial == 0)
    first, cut, *_ = study.journal.records
    cut.status, cut.history = "interrupted", []
    begun = CountingJournal()
    begun.records += [first]
    late_s = []
    for journal in (begun, study.journal):
        budget = TimedStudy(tmp_path, journal, 0.0, **one).budget
        assert not budget.admits(Planned(cut.config, draw=1, trial=1))
        late_s.append(budget.late_s)
    assert late_s[0] == late_s[1] > 1000


def test_a_network_waits_for_ray_and_short_sweeps_do_not(tmp_path: Path) -> None:
    # A network takes 266.7 s, or 306.7 s with 15 % more.
    network = make_trial(wall_s=266.7)
    sweep = replace(make_trial("done", mode="freeze", wall_s=0.1), trial=1)
    journal = CountingJournal()
    journal.records += [network, sweep]
    for start_s, fits in ((0.0, True), (20.0, False)):
        budget = TimedStudy(tmp_path, journal, 310, mode=("freeze", "finetune")).budget
        budget.start_s, budget.alone = start_s, True
        assert budget.admits(Planned(network.config, "repeat", 0)) == fits
        assert budget.admits(Planned(sweep.config, "repeat", 0))


@pytest.mark.parametrize(("resumed", "searched"), [
    (False, []), (True, [("finetune", 0.1), ("scratch", 0.1)]),
])  # fmt: skip
def test_a_trial_of_a_new_study_does_not_start_without_what_confirms_it(
    tmp_path: Path, resumed: bool, searched: list[Cell]
) -> None:
    # One takes 267 s at the small ratio, and 667 s at the large one.
    study = TimedStudy(tmp_path, CountingJournal(), 600.0, resumed)
    study.budget.expected.speeds = UNIT
    study.run()
    assert [*study.cells("search")] == searched
    assert not study.budget.is_stuck


def test_enough_time_leaves_nothing_out(tmp_path: Path) -> None:
    takes = whole(tmp_path)
    study = TimedStudy(tmp_path, CountingJournal(), 1.2 * takes)
    study.run()
    assert (study.now, [*study.budget.describe()]) == (takes, [])


def test_the_time_is_over(tmp_path: Path) -> None:
    study = TimedStudy(tmp_path, CountingJournal(), 10.0)
    study.budget.check()
    study.now = 10.0
    with pytest.raises(OutOfTimeError):
        study.budget.check()


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    study = TimedStudy(tmp_path, CountingJournal(), 10.0)
    study.budget.left_out["search", Cell("finetune", 0.4)] = 3
    study.budget.left_out["confirm", Cell("finetune", 0.4)] = 2
    why = "left out, as --max-time does not suffice"
    assert [*study.budget.describe()] == [
        f"{why}: 3 trials of the search (finetune at 0.4)",
        f"{why}: 2 trials of the confirmation (finetune at 0.4)",
        "how much more they need is not known yet, as no trial like them has run",
    ]
    study.budget.late_s = 60.2
    late = "the first of them to fit, and its confirmation, needed about 0:01:01 more"
    assert [*study.budget.describe()][-1] == late


@pytest.mark.parametrize("resumed", [False, True])
def test_no_time_is_made_up_where_the_length_of_no_trial_is_known(
    tmp_path: Path, resumed: bool
) -> None:
    given: dict[str, Any] = {"mode": ("freeze", "finetune"), "train_ratio": (0.1,)}
    journal = CountingJournal()
    journal.records += [make_trial(wall_s=0.5, mode="freeze")] * resumed
    study = TimedStudy(tmp_path, journal, 8.0, **given)
    study.budget.start_s = 20.0
    assert not study.budget.admits(Planned(make_config(mode="finetune", train_ratio=0.1)))
    assert [*study.budget.describe()][-1] == (
        "how much more they need is not known yet, as no trial like them has run"
    )


def test_before_the_first_trial_a_measured_step_decides(tmp_path: Path) -> None:
    study = TimedStudy(tmp_path, CountingJournal(), 100.0)
    study.budget.expected.speeds = Speeds(forward=3.0, train=1.0, sweep=1e9, probe=1e9)
    assert study.trials.queue.next() == [], "none would end"
    assert study.budget.left_out.total() == 8
    assert 0 < study.budget.late_s < math.inf


def test_a_stage_keeps_the_winner_and_the_cells_that_fit(tmp_path: Path) -> None:
    study = TimedStudy(tmp_path, CountingJournal(), 660.0)
    study.journal.records.append(make_trial(wall_s=266.7))  # As at 1 s an image.
    plain = {"epochs": 2, "min_steps": 0, "mode": "finetune"}
    small = Planned(make_config(train_ratio=0.1, **plain), "control", 0)
    large = Planned(make_config(train_ratio=0.4, **plain), "control", 0)
    winner = Planned(make_config(train_ratio=0.4, seed=1, **plain), "winner", 0, winner=True)
    assert study.budget.admitted([large, small]) == [small]
    assert study.budget.admitted([large, small, winner]) == [winner]
    assert study.budget.given_up == {("control", large.config), ("control", small.config)}


@pytest.mark.parametrize(("every", "end", "fits"), [
    (30, 210, True), (30, 200, False), (600, 350, True), (600, 340, False),
])  # fmt: skip
def test_only_what_is_left_after_its_checkpoint_has_to_fit_of_a_trial(
    tmp_path: Path, every: float, end: float, fits: bool
) -> None:
    # It takes 300 s, of which half is left: 207 s, with 30 s since its checkpoint and 15 % more.
    # If a checkpoint is to come after 600 s, there is none: 345 s.
    journal = CountingJournal()
    cut = replace(make_trial("interrupted", 1, seed=1), trial=1, kind="confirm")
    journal.records += [make_trial(wall_s=266.7), cut]
    budget = TimedStudy(tmp_path, journal, end, checkpoint_every=every).budget
    planned = Planned(cut.config, "confirm", 0, trial=1)
    assert budget.admitted([planned]) == [planned] * fits
    assert budget.is_stuck != fits


@pytest.mark.parametrize(("end", "fits"), [(810, True), (800, False)])
def test_what_is_left_of_a_long_trial_that_runs_is_short(
    tmp_path: Path, end: float, fits: bool
) -> None:
    journal = CountingJournal()
    long = replace(make_trial("running", 1, train_ratio=0.4), trial=1)
    journal.records += [make_trial(wall_s=266.7), long]
    budget = TimedStudy(tmp_path, journal, end).budget
    budget.alone = True
    # 866.7 s, of which half is left, and 266.7 s: 805.1 s, with 15 % more.
    assert budget.admits(Planned(make_trial(seed=1).config, "repeat", 0)) == fits


def test_repeats_that_take_longer_give_way_to_confirming(tmp_path: Path) -> None:
    takes = whole(tmp_path)
    study = TimedStudy(tmp_path, CountingJournal(), 1.25 * takes)
    study.slower = {"repeat": 2.0}
    study.run()
    assert study.budget.left_out.total() > 0
    assert {kind for kind, _ in study.budget.left_out} == {"repeat"}
    assert len(study.cells("confirm")) == 4
    assert sum(study.cells("winner").values()) == 1
    assert study.now <= 1.25 * takes
