"""What `--max-time` leaves of the stages after the search: what fits is confirmed."""

import math
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.diagnosis.estimate import MARGIN
from study.records.trial_record import Kind
from study.search.cells import Cell
from study.search.confirmation import plan, remaining
from tests.support.studies.counting_journal import CountingJournal
from tests.support.studies.timed_study import TimedStudy

ICONS: dict[str, Any] = {
    "mode": ("probe", "partial", "lp_ft"), "trials": 12, "aux_weight": (0.0, 0.1, 1.0),
    "confirm_seeds": 3,
}  # fmt: skip
"""With an auxiliary task, so that a network's control follows the confirming trials."""

Slower = Mapping[str, float]
PLAIN: Slower = {}


def cut(folder: Path, before: Kind, repeats: int = 0, slower: Slower = PLAIN) -> CountingJournal:
    """The trials of a study up to the first of a kind, but for so many before it."""
    (study := TimedStudy(folder, CountingJournal(), math.inf, **ICONS)).slower = {**slower}
    study.run()
    journal = CountingJournal()
    kinds = [record.kind for record in study.journal.records]
    journal.records += study.journal.records[: kinds.index(before) - repeats]
    return journal


def goes_on(
    folder: Path, journal: CountingJournal, end: float, slower: Slower = PLAIN
) -> TimedStudy:
    """Another run of the study of a journal, which keeps its trials."""
    copy = CountingJournal()
    copy.records += [replace(record, history=[*record.history]) for record in journal.records]
    (study := TimedStudy(folder, copy, end, **ICONS)).slower = {**slower}
    return study


def lacking(study: TimedStudy) -> dict[Cell, float]:
    """Seconds of the confirming trials that each cell lacks, as expected."""
    records, found = study.budget.records, defaultdict[Cell, float](float)
    repeats = {(p.kind, p.config) for p in plan(study.settings, records) if p.kind == "repeat"}
    planned = plan(study.settings, records, repeats)
    for trial in remaining([p for p in planned if p.kind == "confirm"], records, None):
        found[Cell.of(trial.config)] += study.budget.expected.rest(trial).seconds
    return found


@pytest.mark.parametrize("repeats", [0, 1, 7])
def test_what_fits_is_confirmed_though_what_follows_does_not_fit(
    tmp_path: Path, repeats: int
) -> None:
    journal = cut(tmp_path, "confirm", repeats)
    # Cells take 0, 0, 900, 1500, 2700 and 3300 s, and 15 % more; a winner up to 500 s more.
    # The control of a network, two cells, takes up to 4800 s.
    study = goes_on(tmp_path, journal, 3400.0)
    study.run()
    confirmed = [("probe", 0.1), ("partial", 0.1), ("lp_ft", 0.1), ("probe", 0.4)]
    assert study.cells("confirm") == dict.fromkeys(confirmed, 3)
    assert sum(study.cells("winner").values()) == 1
    assert study.now <= 3400
    [left] = [line for line in study.budget.describe() if "confirmation" in line]
    why = "left out, as --max-time does not suffice"
    assert left == f"{why}: 6 trials of the confirmation (partial at 0.4, lp_ft at 0.4)"


@pytest.mark.parametrize("seed", range(3))
def test_no_time_is_given_back_that_would_confirm_a_cell(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    slower = {mode: 10 ** draw.uniform(-1, 1) for mode in ICONS["mode"]}
    journal = cut(tmp_path, "confirm", draw.randrange(0, 20), slower)
    takes = sum(lacking(goes_on(tmp_path, journal, 0.0)).values())
    for _ in range(4):
        end = draw.uniform(0.01, 1.5) * takes
        study = goes_on(tmp_path, journal, end, slower)
        cheapest = min(lacking(study).values())
        study.run()
        training = sum(r.wall_s for r in study.journal.records if r.kind == "winner")
        assert study.now - training <= end, "the winner's training alone may be cut off"
        left = lacking(study)
        assert all(study.now + MARGIN * seconds > end for seconds in left.values())
        if MARGIN * cheapest <= end:
            assert 3 in study.cells("confirm").values()


@pytest.mark.parametrize("seed", range(3))
def test_the_cells_that_are_confirmed_are_the_first_that_fit(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    slower = {mode: 10 ** draw.uniform(-1, 1) for mode in ICONS["mode"]}
    journal = cut(tmp_path, "confirm", slower=slower)
    for _ in range(8):
        study = goes_on(tmp_path, journal, 0.0)
        stage, budget, seconds = plan(study.settings, study.budget.records), study.budget, {}
        for trial in stage:
            seconds[Cell.of(trial.config)] = budget.expected.rest(trial).seconds
        budget.end = draw.uniform(0.1, 1.5) * 3 * sum(seconds.values())
        kept = {Cell.of(trial.config) for trial in budget.admitted(stage)}
        time_s = budget.end / MARGIN
        in_order = sorted(seconds, key=lambda cell: (cell.train_ratio, seconds[cell]))
        fit = list[Cell]()
        for trains in (1, 0):  # Only if no cell fits before the winner's training.
            for cell in in_order if not fit else ():
                more = [*fit, cell]
                needed = 3 * sum(map(seconds.__getitem__, more))
                if needed + trains * max(map(seconds.__getitem__, more)) <= time_s:
                    fit = more
        assert kept == {*fit}
        assert 3 * sum(seconds[cell] for cell in kept) <= time_s
        assert bool(kept) == (3 * min(seconds.values()) <= time_s)


def test_no_stage_follows_a_control_without_the_winner(tmp_path: Path) -> None:
    journal = cut(tmp_path, "winner")
    study = goes_on(tmp_path, journal, math.inf)
    controls = [record for record in journal.records if record.kind == "control"]
    assert controls
    assert study.budget.expected.after_stage(controls) == []
