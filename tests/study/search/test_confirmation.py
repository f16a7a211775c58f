"""Which trials follow the search, stage by stage, in new, resumed, extended and older studies."""

import math
from pathlib import Path
from typing import Any

import pytest

from study.config.settings import Settings
from study.records.trial_record import Status, TrialRecord
from study.search.cells import Cell
from study.search.choosing import FRESH, REPEATED
from study.search.confirmation import (
    Planned,
    max_confirm_trials,
    max_left,
    plan,
    remaining,
    settled,
    stage_name,
    still_planned,
)
from tests.support.studies.builders import make_record, make_settings
from tests.support.studies.counting_journal import CountingJournal
from tests.support.studies.stages import finish, run_stage, search_record
from tests.support.studies.timed_study import TimedStudy
from tl_core.config import Mode


def settings(**given: Any) -> Settings:
    plain = {"data": "photos", "train_ratio": ["0.1", "0.4"]}
    seeds = {"confirm_seeds": 3} if given.get("confirm", True) else {}
    return make_settings(**(plain | seeds | given))


RECORDS = [
    search_record(0, "freeze", 0.1, 0.5, lr=1e-2),
    search_record(1, "freeze", 0.1, 0.4, lr=2e-2),
    search_record(2, "freeze", 0.4, 0.1, status="failed"),
    search_record(3, "finetune", 0.1, 0.6, lr=1e-3),
    search_record(4, "finetune", 0.4, 0.2, lr=1e-3),
    search_record(5, "finetune", 0.4, 0.3, lr=2e-3),
]


def cells(planned: list[Planned]) -> list[tuple[int | None, str, float]]:
    return [(p.source, p.config.mode, p.config.train_ratio) for p in planned]


def kinds(planned: list[Planned]) -> set[str]:
    return {p.kind for p in planned}


def test_repeats_come_first_then_confirming_trials_then_control_and_winner() -> None:
    given, records = settings(), [*RECORDS]
    repeats = run_stage(given, records)
    assert cells(repeats) == [
        (1, "freeze", 0.1), (0, "freeze", 0.1), *[(4, "finetune", 0.4)] * 3,
        *[(5, "finetune", 0.4)] * 3,
    ]  # fmt: skip
    assert (kinds(repeats), {p.winner for p in repeats}) == ({"repeat"}, {False})
    networks = [p.config for p in repeats if p.config.mode == "finetune"]
    assert [(c.seed, c.seeds) for c in networks] == [(REPEATED + i, 1) for i in range(3)] * 2
    assert {(p.config.seed, p.config.seeds) for p in repeats[:2]} == {(REPEATED, 3)}
    confirming = run_stage(given, records)
    assert kinds(confirming) == {"confirm"}
    assert [p.config.seed for p in confirming] == [FRESH, FRESH + 1, FRESH + 2] * 4
    assert ({p.config.seeds for p in confirming}, any(p.winner for p in confirming)) == ({1}, False)
    last = run_stage(given, records)
    assert [p.kind for p in last] == ["control"] * 6 + ["winner"]
    assert [p.winner for p in last] == [False] * 6 + [True]
    assert plan(given, records) == []


@pytest.mark.parametrize(("mode", "last"), [
    ("finetune", ["auxiliary task's control"] * 2), ("freeze", ["training the winner"]),
])  # fmt: skip
def test_each_stage_has_a_name(mode: Mode, last: list[str]) -> None:
    given = settings(mode=[mode], train_ratio=["0.1"])
    records = [search_record(i, mode, 0.1, 0.5, lr=1e-4 + 1e-5 * i) for i in range(9)]
    names = list[str]()
    while stage := plan(given, records):
        names.append(stage_name(given, stage, records))
        run_stage(given, records)
    assert names == ["choosing", "confirming", *last]
    # An extended study chooses again, after trials that confirmed.
    records += [search_record(len(records), mode, 0.1, 0.1, lr=9e-3)]
    assert stage_name(given, plan(given, records), records) == "choosing"


def test_best_mean_of_the_repeats_is_confirmed() -> None:
    given, records = settings(), [*RECORDS]
    # Trial 5 was behind in the search, and is ahead on three seeds.
    losses = {(4, REPEATED): 0.1, (4, REPEATED + 1): 0.9, (4, REPEATED + 2): 0.5}
    run_stage(given, records, losses, default=0.45)
    confirming = plan(given, records)
    assert {p.source for p in confirming if p.config.train_ratio == 0.4} == {1, 5}
    assert {p.source for p in confirming if p.config.train_ratio == 0.1} == {1, 3}


def test_winner_is_the_best_mean_of_the_confirming_trials_and_its_first_seed_is_kept() -> None:
    given, records = settings(), [*RECORDS]
    run_stage(given, records)
    # Of the search, trial 4 is best; freeze at 0.1 is on fresh seeds, but not on the first.
    losses = {(1, FRESH): 0.3, (1, FRESH + 1): 0.05, (1, FRESH + 2): 0.05}
    losses |= {(4, FRESH + i): 0.15 for i in range(3)}
    run_stage(given, records, losses, default=0.2)
    *control, winner = plan(given, records)
    assert (winner.kind, winner.winner, winner.source) == ("winner", True, 1)
    assert (winner.config.seed, winner.config.seeds) == (FRESH, 1)
    # There are two cells with that source: the one that borrows it has the same scores.
    assert (winner.config.mode, winner.config.train_ratio) == ("freeze", 0.1)
    (confirm,) = [r for r in records if r.kind == "confirm" and r.config == winner.config]
    assert confirm.value("val_log_loss") == 0.3
    # The controls are the best network's, by the same rule, and its mode's at the smallest ratio.
    found = {(p.source, p.config.train_ratio, p.config.aux_weight) for p in control}
    assert found == {(4, 0.4, 0.0), (3, 0.1, 0.0)}
    finish(given, records)
    assert records[-1].kind == "winner"


def test_a_failed_seed_counts_against_its_cell() -> None:
    given, records = settings(mode=["finetune"]), [*RECORDS[3:]]
    run_stage(given, records)
    confirming = run_stage(given, records, default=0.5)
    at = {p.config: r for p, r in zip(confirming, records[-len(confirming) :], strict=True)}
    first, *_ = (p.config for p in confirming if p.config.train_ratio == 0.4)
    for config, record in at.items():
        if config.train_ratio == 0.4:
            record.history = make_record(log_losses=(0.01,)).history
    at[first].status = "failed"
    assert plan(given, records)[-1].config.train_ratio == 0.1
    for config, record in at.items():
        record.status = "failed" if config.train_ratio == 0.1 else record.status
    last = plan(given, records)[-1]
    # Its weights come from the first of the seeds that have a result.
    assert (last.config.train_ratio, last.config.seed) == (0.4, FRESH + 1)


def test_frozen_modes_need_no_control_and_a_mode_without_result_is_left_out() -> None:
    planned = finish(settings(), [*RECORDS[:3]])
    assert {(p.kind, p.config.mode) for p in planned} == {
        (kind, "freeze") for kind in ("repeat", "confirm", "winner")
    }
    assert plan(settings(), [RECORDS[2]]) == []


def test_probes_and_single_configurations_are_not_repeated() -> None:
    given = settings(mode=["probe", "finetune"], train_ratio=["0.1"])
    records = [search_record(0, "probe", 0.1, 0.5), RECORDS[3]]
    records += [search_record(7, "probe", 0.1, 0.4, seed=8)]
    planned = finish(given, [*records, make_record(8, "pruned", mode="finetune")])
    assert [p.kind for p in planned] == ["confirm"] * 6 + ["control"] * 3 + ["winner"]


def test_empty_cells_take_the_nearest_ratio_of_their_mode() -> None:
    ratios = ["0.01", "0.05", "0.1", "0.8"]
    records = [search_record(0, "freeze", 0.01, 0.5), search_record(1, "freeze", 0.1, 0.4)]
    given = settings(mode=["freeze"], train_ratio=ratios, confirm_seeds=1)
    # 0.05 is 5 times 0.01 and half of 0.1.
    expected = [(0, 0.01), (1, 0.05), (1, 0.1), (1, 0.8)]
    assert [(s, ratio) for s, _, ratio in cells(plan(given, records))] == expected


@pytest.mark.parametrize(("given", "most"), [
    # Two ratios: 3 repeats of freeze, 9 of finetune and 15 of its control; 4 cells and two controls
    # on 3 seeds; a winner.
    ({}, 2 * (3 + 9 + 15) + 6 * 3 + 1), ({"mode": ["probe"]}, 2 * 3 + 1), ({"confirm": False}, 1),
    # One configuration a cell: no choice, so no repeats.
    ({"trials": 4}, 6 * 3 + 1),
    # Two for each cell at the larger ratio, and one for each at the other.
    ({"trials": 6}, 2 + 2 * 3 + 6 * 3 + 1),
    # From 8 on a control has repeats.
    ({"mode": ["finetune"], "trials": 15}, 2 * 9 + 15 + 4 * 3 + 1),
    ({"mode": ["finetune"], "trials": 16}, 2 * 9 + 2 * 15 + 4 * 3 + 1),
    ({"aux_weight": (0.0,)}, 2 * (3 + 9) + 4 * 3 + 1),
    # All four may go to one cell, or two each to two.
    ({"design": "joint", "trials": 4}, 4 * 3 + 6 * 3 + 1),
    ({"design": "joint"}, 2 * (3 + 9 + 15) + 6 * 3 + 1),
])  # fmt: skip
def test_most_trials_that_can_follow(given: dict[str, Any], most: int) -> None:
    assert max_confirm_trials(settings(**given)) == most


@pytest.mark.parametrize(("trials", "design"), [
    (6, "cells"), (12, "cells"), (48, "cells"), (12, "joint"),
])  # fmt: skip
def test_no_more_trials_follow_than_that(tmp_path: Path, trials: int, design: str) -> None:
    modes = ("probe", "partial", "lp_ft")
    given: dict[str, Any] = {"mode": modes, "trials": trials, "design": design}
    given |= {"aux_weight": (0.0, 0.1, 1.0), "confirm_seeds": 3}
    study = TimedStudy(tmp_path, CountingJournal(), math.inf, **given)
    study.run()
    follow = [record for record in study.journal.records if record.kind != "search"]
    most = max_confirm_trials(study.settings)
    assert len(follow) <= most
    if (trials, design) == (12, "cells"):  # Here, the best network is at the large ratio.
        assert len(follow) == most == 55


def test_most_are_needed_with_three_configurations_a_cell() -> None:
    rates = [1e-3, 1.1e-3, 1.2e-3, 3e-3, 3e-4, 4e-3, 2e-4, 5e-3]
    records = [
        search_record(4 * i + j, mode, ratio, 0.1 * i + 0.1, lr=rates[i])
        for i in range(8)
        for j, (mode, ratio) in enumerate(
            (m, r) for m in ("freeze", "finetune") for r in (0.1, 0.4)
        )
    ]
    # The best network is the one at 0.4, so it has a control at both ratios.
    losses = {(4 * i + 3, REPEATED + j): 0.1 for i in range(3) for j in range(3)}
    assert len(finish(settings(), records, losses)) == max_confirm_trials(settings())


def test_what_has_ended_is_not_left() -> None:
    given, records = settings(), [*RECORDS]
    most = max_confirm_trials(given)
    assert max_left(given, records) == most
    while stage := run_stage(given, records):
        assert max_left(given, records[:-1]) == most - len(stage) + 1
        most -= len(stage)
        assert max_left(given, records) == most
    # A better configuration, of an extended study, needs all that follows its cell's choice.
    records.append(search_record(99, "freeze", 0.1, 0.1, lr=5e-2))
    assert max_left(given, records) == max_confirm_trials(given) - 8


def test_without_confirmation_the_best_trial_is_trained_again_for_its_weights() -> None:
    given = settings(confirm=False)
    (winner,) = planned = plan(given, RECORDS)
    assert winner == Planned(RECORDS[4].config, "winner", 4, winner=True)
    ran = [TrialRecord(10, winner.config, status="done", kind="winner", source=winner.source)]
    assert plan(given, [*RECORDS, *ran]) == remaining(planned, [*RECORDS, *ran], ran[0]) == []
    # It runs again only if the weights are another's.
    assert remaining(planned, [*RECORDS, *ran], RECORDS[0]) == planned
    assert remaining(planned, [*RECORDS, *ran], None) == planned


def test_a_study_that_goes_on_runs_what_is_left_of_a_stage() -> None:
    given, records = settings(), [*RECORDS]
    run_stage(given, records)
    planned = plan(given, records)
    statuses: list[Status] = ["done", "failed", "interrupted", "running", "pruned"]
    ran = [
        TrialRecord(20 + i, p.config, status, kind=p.kind, source=p.source)
        for i, (p, status) in enumerate(zip(planned, statuses, strict=False))
    ]
    assert plan(given, [*records, *ran]) == planned
    left = remaining(planned, [*records, *ran], None)
    assert [p.trial for p in left] == [22, 23] + [None] * (len(planned) - 5)
    expected = [*planned[2:4], *planned[5:]]
    assert [(p.kind, p.config) for p in left] == [(p.kind, p.config) for p in expected]


def test_a_winner_that_wins_again_after_another_is_trained_again() -> None:
    given, records = settings(mode=["freeze"], train_ratio=["0.1"], confirm_seeds=2), [RECORDS[0]]
    finish(given, records)
    first = records[-1]
    better = search_record(len(records) + 10, "freeze", 0.1, 0.1, lr=1e-3)
    finish(given, records := [*records, better], {(better.trial, FRESH): 0.1}, default=0.2)
    second = records[-1]
    assert (second.kind, second.source) == ("winner", better.trial)
    # Now the first configuration has the better repeats.
    for r in records:
        if r.kind == "repeat":
            r.history = make_record(log_losses=(0.1 if r.source == 0 else 0.9,)).history
    stage = plan(given, records)
    assert [p.config for p in remaining(stage, records, second)] == [first.config]
    finish(given, records)
    assert (records[-1].kind, records[-1].config) == ("winner", first.config)


@pytest.mark.parametrize("extended", [False, True])
def test_a_winner_that_failed_is_tried_again_in_an_extended_study(extended: bool) -> None:
    given, records = settings(mode=["freeze"], train_ratio=["0.1"]), [RECORDS[0]]
    finish(given, records)
    records[-1].status = "failed"
    if extended:
        records.append(search_record(50, "freeze", 0.1, 0.9, lr=0.5))
        run_stage(given, records)  # Its repeats.
    assert [p.kind for p in remaining(plan(given, records), records, None)] == ["winner"] * extended
    finish(given, records)
    records[-1].status = "failed"
    assert plan(given, records) == []


def test_a_study_of_the_earlier_version_goes_on_with_the_new_stages() -> None:
    """It had no repeats, and a confirming trial made the winner's weights."""
    given, records = settings(), [*RECORDS]
    earlier = [
        search_record(10 + i, mode, ratio, 0.3, seed=FRESH + i % 3, lr=lr)
        for i, (mode, ratio, lr) in enumerate(
            (m, r, 2e-2 if m == "freeze" else 1e-3)
            for m in ("freeze", "finetune") for r in (0.1, 0.4) for _ in range(3)
        )
    ]  # fmt: skip
    for r in earlier:
        r.kind, r.source = "confirm", {("freeze", 0.1): 1, ("freeze", 0.4): 1,
                                       ("finetune", 0.1): 3, ("finetune", 0.4): 4}[
            r.config.mode, r.config.train_ratio
        ]  # fmt: skip
        r.config = r.config.model_copy(update={"seeds": 1})
    records += earlier
    assert len(still_planned(given, records)) == 12
    assert kinds(plan(given, records)) == {"repeat"}
    run_stage(given, records, default=0.3)
    # The repeats chose the same configurations: nothing is left but control and winner.
    assert kinds(plan(given, records)) == {"control", "winner"}
    finish(given, records)
    assert len(still_planned(given, records)) == 18


def test_a_cell_is_settled_until_a_trial_of_it_goes_on_or_chooses_anew() -> None:
    given = make_settings(data="photos", mode=("finetune",), train_ratio=(0.1, 0.4), trials=4)
    records = [search_record(i, "finetune", r, 0.5 + i, lr=0.01 * (1 + i))
               for i, r in enumerate((0.4, 0.4, 0.1, 0.1))]  # fmt: skip
    small, large = Cell("finetune", 0.1), Cell("finetune", 0.4)
    assert settled(given, records) == set()
    run_stage(given, records)
    assert settled(given, records) == set()
    run_stage(given, records)
    assert settled(given, records) == {small, large}
    # A trial with a low number goes on, and ends after what confirms its cell.
    cut = search_record(99, "finetune", 0.1, 0.1, "interrupted", lr=0.5)
    cut.trial = -1
    assert settled(given, [cut, *records]) == {large}
    cut.status = "done"
    assert settled(given, [cut, *records]) == {large}, "it is to be repeated"
