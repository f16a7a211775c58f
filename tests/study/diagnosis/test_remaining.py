"""The time that is left is told of studies whose trials take a known time."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from study.cluster.capacity import Capacity
from study.diagnosis.estimate import Speeds, trial_s
from study.diagnosis.observed import UNIT, Expected
from study.diagnosis.remaining import Left, Remaining
from study.execution.study_trials import StudyTrials
from study.records.trial_record import Trial, TrialRecord
from study.search.cells import Cell
from study.search.confirmation import Planned
from tests.support.studies.builders import (
    make_config,
    make_epoch,
    make_record,
    make_settings,
    plain_shape,
)
from tests.support.studies.counting_journal import CountingJournal

SHAPE = plain_shape(1000, 2, 512)
WRONG = replace(UNIT, forward=1.5, train=0.5)
"""Half as fast as the places are."""
LONG_S = 4 * 400 + (4 * 100 + 100) / 3
"""Seconds of the longest trial: four epochs, and the test."""


@dataclass
class Seen:
    """What was told at a time."""

    now: float
    stage: str
    left: Left


class Study:
    """A study whose networks take one second an image in each place, and its clock."""

    def __init__(
        self, folder: Path, journal: CountingJournal, places: int = 1, speeds: Speeds = UNIT,
        end: float | None = None, **given: Any,
    ) -> None:  # fmt: skip
        plain = {"mode": ("freeze", "finetune"), "train_ratio": (0.1, 0.4), "trials": 12}
        fixed = {"data": "photos", "epochs": 4, "min_steps": 0}
        fixed |= {"confirm_seeds": 3} if given.get("confirm", True) else {}
        self.settings = make_settings(**fixed | plain | {"jobs": places} | given)
        self.now, self.journal, self.places = 0.0, journal, places
        expected = Expected(self.settings, SHAPE, journal.records, speeds)
        self.remaining = Remaining(
            expected, Capacity(places, places, 0), 20.0, end, clock=lambda: self.now
        )
        self.stage, self.stages, journal.display = "search", dict[str, float](), self
        winner = next((r for r in reversed(journal.records) if r.kind == "winner"), None)
        self.trials = StudyTrials(self.settings, folder, journal, winner)
        self.seen: list[Seen] = []

    def confirm(self, stage: str, planned: Sequence[Trial]) -> None:
        """A stage begins."""
        self.stages[self.stage] = self.now
        self.stage += f", {stage}"
        self.remaining.begin(planned)

    def show(self, ended: TrialRecord | None) -> None:
        """Nothing is shown."""

    def warn(self, text: str) -> None:
        """No trial warns."""

    def look(self) -> None:
        """Note what is told now."""
        self.remaining.update()
        self.seen.append(Seen(self.now, self.stage, self.remaining.left()))

    def run(self, stops: int = 10**6) -> None:
        """Run the study, or its first trials; one network of four stops early, one fails."""
        running: list[tuple[float, int, TrialRecord, int]] = []
        """When the next epoch ends, of which trial, and which one."""
        workers = False
        self.look()
        while True:
            while len(running) < self.places and (batch := self.trials.queue.next()):
                for record in self.trials.open(batch):
                    self.look()
                    seconds = trial_s(record.config, SHAPE, UNIT, batch[0].tests) or math.nan
                    if record.config.mode == "freeze":
                        self._end(record, seconds, record.config.epochs)
                        continue
                    self.now, workers = self.now + 20.0 * (not workers), True
                    epoch_s = seconds / record.config.epochs
                    heapq.heappush(running, (self.now + epoch_s, record.trial, record, 1))
                    self.look()
            if not running:
                break
            self.now, number, record, epoch = heapq.heappop(running)
            tests = self.settings.confirm and record.kind not in ("search", "repeat")
            seconds = trial_s(record.config, SHAPE, UNIT, tests) or math.nan
            self.trials.report(record, [make_epoch(epoch, images_per_s=1.0)])
            search = record.kind == "search" and record.config.mode != "freeze"
            last = 2 if search and number % 4 == 3 else record.config.epochs
            if epoch == last:
                self._end(record, seconds * last / record.config.epochs, last)
                stops -= 1
            else:
                after = self.now + seconds / record.config.epochs
                heapq.heappush(running, (after, number, record, epoch + 1))
            self.look()
            if not stops:
                self.journal.interrupt()
                return
        self.stages[self.stage] = self.now

    def _end(self, record: TrialRecord, seconds: float, epochs: int) -> None:
        if record.config.mode == "freeze":
            self.now += seconds
            self.trials.report(record, [make_epoch(i + 1) for i in range(epochs)])
        self.trials.end(record)
        record.wall_s = seconds
        self.look()


def check(study: Study, too_much: float = 0.5) -> None:
    """Whether what was told was right, and fell to 0.

    It may be off by a trial, as the longest might be the winner, and by `too_much`, a share of what
    was left, as stages to come are counted at most.
    """
    for seen in study.seen:
        truth, of_stage = study.now - seen.now, study.stages[seen.stage] - seen.now
        told, most = seen.left, (1 + too_much) * (truth + 1.5 * LONG_S)
        assert 0.9 * truth - LONG_S / 2 <= told.study <= most, seen
        assert 0.9 * of_stage - LONG_S / 2 <= told.stage <= (1 + too_much) * of_stage + LONG_S, seen
        assert 0 <= told.stage <= told.study
    if too_much < 100:
        assert study.seen[-1].left == Left(0.0, 0.0, is_last=True)


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("given", [
    {}, {"aux_weight": (0.0,), "trials": 24}, {"confirm": False},
    {"mode": ("probe", "finetune", "scratch"), "trials": 18},
])  # fmt: skip
def test_the_end_of_a_study_is_known_from_its_start(
    places: int, given: dict[str, Any], tmp_path: Path
) -> None:
    study = Study(tmp_path, CountingJournal(), places, **given)
    study.run()
    check(study)


def test_a_joint_search_that_does_not_go_evenly_ends_within_what_was_told(tmp_path: Path) -> None:
    study = Study(tmp_path, CountingJournal(), mode=("probe", "finetune"), design="joint")
    study.run()
    assert all(seen.left.study >= 0.95 * (study.now - seen.now) for seen in study.seen)
    assert study.seen[0].left.study <= 2.5 * study.now
    assert study.seen[-1].left == Left(0.0, 0.0, is_last=True)


def test_a_wrong_measure_counts_until_a_trial_has_ended(tmp_path: Path) -> None:
    study = Study(tmp_path, CountingJournal(), speeds=WRONG)
    study.run()
    assert 2 <= study.seen[0].left.study / study.now <= 3
    first = next(r for r in study.journal.records if r.config.mode == "finetune")
    study.seen = [seen for seen in study.seen if seen.now > 20 + first.wall_s]
    check(study)


def test_a_study_that_goes_on_counts_what_is_left(tmp_path: Path) -> None:
    journal = CountingJournal()
    Study(tmp_path, journal).run(stops=4)
    resumed = Study(tmp_path, journal, speeds=Speeds())
    resumed.run()
    check(resumed)
    extended = Study(tmp_path, journal, trials=16)
    extended.run()
    check(extended, too_much=100)  # All might be chosen again.


def test_the_time_that_a_command_has_ends_it(tmp_path: Path) -> None:
    study = Study(tmp_path, CountingJournal(), end=3000.0)
    study.run(stops=3)
    told = [(seen.now, seen.left) for seen in study.seen]
    assert all(left.study == pytest.approx(max(0.0, 3000 - now), abs=1) for now, left in told)
    assert all(left.stage <= left.study for _, left in told)


def test_trials_that_are_left_out_and_those_that_follow_them_are_not_counted(
    tmp_path: Path,
) -> None:
    study = Study(tmp_path, CountingJournal(), mode=("finetune",), trials=4)
    whole = study.remaining
    less = replace(whole, left_out={("search", Cell("finetune", 0.4)): 2})
    for remaining in (whole, less):
        remaining.update()
    # Two of 1,733 s each, and of 533 s each, in one place that starts within 20 s.
    assert whole.left().stage == pytest.approx(20 + 2 * (1733.4 + 533.4), abs=1)
    assert less.left().stage == pytest.approx(20 + 2 * 533.4, abs=1)
    assert less.left().study < whole.left().study / 2


def test_what_runs_is_counted_down_by_the_clock() -> None:
    now, settings = [0.0], make_settings(data="photos", mode=("finetune",), train_ratio=(0.1,))
    settings = settings.model_copy(update={"trials": 1, "epochs": 2, "confirm": False})
    shape, record = plain_shape(1000, 2, 512), make_record(0, "running", (), mode="finetune")
    expected = Expected(settings, shape, [record], UNIT)
    remaining = Remaining(expected, Capacity(1, 1, 0), clock=lambda: now[0])
    remaining.update()
    whole = remaining.left().stage
    assert whole == pytest.approx(trial_s(record.config, shape, UNIT))
    now[0] = 100.0
    assert remaining.left().stage == pytest.approx(whole - 100)
    remaining.update()
    assert remaining.left().stage == pytest.approx(whole - 100)
    now[0] = 10 * whole  # It takes longer than expected: its second epoch at least is left.
    assert remaining.left().stage == 0
    remaining.update()
    assert remaining.left().stage == pytest.approx(whole / 2)


def test_time_alone_does_none_of_the_work_that_has_not_begun() -> None:
    now, settings = [0.0], make_settings(data="photos", mode=("finetune",), train_ratio=(0.1,))
    settings = settings.model_copy(update={"trials": 10, "epochs": 2, "confirm_seeds": 3})
    shape, records = plain_shape(1000, 2, 512), [make_record(0, "running", (), mode="finetune")]
    expected = Expected(settings, shape, records, UNIT)
    remaining = Remaining(expected, Capacity(2, 2, 0), clock=lambda: now[0])
    trial, begun = trial_s(records[0].config, shape, UNIT) or math.nan, remaining.left()
    assert begun.stage == pytest.approx(5 * trial)
    now[0] = 3600 * 24  # Ray starts, and tells nothing.
    assert remaining.left().stage == pytest.approx(9 / 2 * trial)
    later = begun.study - begun.stage
    assert remaining.left().study == pytest.approx(9 / 2 * trial + later)
    remaining.update()
    now[0] += 0.5  # Too soon for another forecast.
    records.append(make_record(1, "running", (), mode="finetune"))
    remaining.update()
    now[0] += 3600 * 24
    assert remaining.left().stage == pytest.approx(8 / 2 * trial)
    remaining.begin([])
    assert remaining.left() == Left(0.0, 0.0, is_last=True)


def test_what_is_left_of_a_stage_is_known_when_it_begins(tmp_path: Path) -> None:
    study = Study(tmp_path, CountingJournal(), mode=("finetune",), trials=1)
    config = make_config(mode="finetune", train_ratio=0.4, epochs=4, min_steps=0)
    study.remaining.begin([Planned(config, "repeat")])
    assert study.remaining.left().stage == pytest.approx(20 + 1733.4, abs=1)


@pytest.mark.parametrize(("left", "told"), [
    (Left(12.2, 190, is_last=False),
     "about 0:00:12 left in this stage, about 0:03:10 at most in the study"),
    (Left(12.2, 12.2, is_last=True), "about 0:00:12 left, in the last stage"),
    (Left(12.2, math.inf, is_last=False), "about 0:00:12 left in this stage"),
    (Left(math.inf, math.inf, is_last=False), "time left: unknown yet"),
    (Left(math.inf, 600, is_last=False), "about 0:10:00 at most in the study"),
])  # fmt: skip
def test_the_time_that_is_left_in_words(left: Left, told: str) -> None:
    assert str(left) == told
    assert Left(5, math.inf, is_last=False).after(10) == Left(0, math.inf, is_last=False)
