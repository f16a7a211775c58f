"""What a search draws, and that one which was interrupted draws the same."""

import itertools
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given as drawn_from
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from study.config.settings import Settings
from study.records.trial_record import Status, TrialRecord
from study.search.sampler import SAMPLERS, Suggestions
from tests.support.studies.builders import make_config, make_epoch, make_settings
from tl_core.aux_task import AuxWeight
from tl_core.config import TrialConfig

RATIOS = ["0.1", "0.2", "0.4"]


def settings(**given: Any) -> Settings:
    plain = {"data": "photos", "name": "mine", "train_ratio": RATIOS, "trials": 40}
    return make_settings(**(plain | given))


def value_of(config: TrialConfig) -> float:
    """Made up: best near a learning rate of 0.003, a little better with more labels."""
    return abs((config.lr or 1e-3) - 3e-3) + 0.1 - 0.1 * config.train_ratio


def record_of(number: int, config: TrialConfig, status: Status = "done") -> TrialRecord:
    history = [make_epoch(1, val_log_loss=value_of(config))] if status != "failed" else []
    return TrialRecord(number, config, status, history, started_at=0.0, draw=number)


def run(suggestions: Suggestions, n: int) -> list[TrialRecord]:
    """Some of the trials are pruned, some fail."""
    records = []
    for _ in range(n):
        number, config = suggestions.ask()
        statuses: list[Status] = ["done", "done", "pruned", "done", "failed"]
        record = record_of(number, config, statuses[number % 5])
        value = record.value("val_log_loss")
        suggestions.tell(number, record.status, len(record.history), value)
        records.append(record)
    return records


def cell(record: TrialRecord) -> tuple[str, float]:
    return record.config.mode, record.config.train_ratio


def test_joint_search_tries_every_cell_first() -> None:
    configs = run(Suggestions(settings(design="joint", objective="pareto")), 30)
    cells = set(itertools.product(("freeze", "finetune"), (0.1, 0.2, 0.4)))
    assert {cell(config) for config in configs[:6]} == cells
    assert {r.config.seeds for r in configs if r.config.mode == "freeze"} == {8}
    assert {r.config.train_ratio for r in configs[6:]} == {0.1, 0.2, 0.4}


def test_an_extended_study_shares_its_new_trials_evenly() -> None:
    first = run(Suggestions(settings(trials=9)), 9)
    assert [cell(r) for r in first[:4]] == [("freeze", 0.4)] * 2 + [("freeze", 0.2)] * 2
    # In the middle of it, the study is interrupted once more.
    half = first + run(Suggestions(settings(trials=30), first), 8)
    whole = half + run(Suggestions(settings(trials=30), half), 13)
    assert set(Counter(map(cell, whole)).values()) == {5}
    assert whole == first + run(Suggestions(settings(trials=30), first), 21)


def test_a_draw_belongs_to_the_cell_of_its_record_whatever_its_number() -> None:
    """Version 0.1 gave cells their turns by the number of the draw."""
    earlier = [
        record_of(i, make_config(mode=mode, train_ratio=ratio, lr=5e-4))
        for i, (ratio, mode) in enumerate(itertools.product((0.4, 0.2, 0.1), ("freeze", "lp_ft")))
    ]
    later = run(Suggestions(settings(mode=["freeze", "lp_ft"], trials=12), earlier), 6)
    assert sorted(map(cell, later)) == sorted(map(cell, earlier))


def test_a_cell_that_had_more_than_its_share_takes_no_turn_of_another() -> None:
    many = [record_of(i, make_config(mode="freeze", train_ratio=0.4)) for i in range(9)]
    later = Counter(map(cell, run(Suggestions(settings(trials=12), many), 10)))
    assert ("freeze", 0.4) not in later
    assert set(later.values()) == {2}


def test_a_cell_begins_with_the_best_of_the_nearest_ratio() -> None:
    records = run(Suggestions(settings(mode=["finetune", "probe"], trials=30)), 30)
    by_ratio = {
        ratio: [r for r in records if cell(r) == ("finetune", ratio)] for ratio in (0.4, 0.2, 0.1)
    }
    assert [len(drawn) for drawn in by_ratio.values()] == [9, 9, 9]
    for ratio, near in ((0.2, 0.4), (0.1, 0.2)):
        done = [r.config for r in by_ratio[near] if r.status == "done"]
        best, begins = min(done, key=value_of), by_ratio[ratio][0].config
        assert (begins.lr, begins.aux_weight) == (best.lr, best.aux_weight)


@pytest.mark.parametrize(
    ("mode", "weights", "first"),
    [("finetune", ["0.1", "0.9"], 0.1), ("finetune", ["0.5", "auto", "0.2"], 0.2),
     ("finetune", ["0.3"], 0.3), ("finetune", ["auto"], "auto"), ("freeze", ["0.1", "0.9"], None)],
)  # fmt: skip
def test_the_first_network_has_the_least_auxiliary_weight(
    mode: str, weights: list[str], first: AuxWeight | None
) -> None:
    found = run(Suggestions(settings(mode=[mode], aux_weight=weights, trials=6)), 2)
    drawn = [r.config.aux_weight for r in found]
    assert drawn[0] == first or first is None
    assert (drawn[0] == 0.1) is (mode == "finetune" and weights[0] == "0.1")


def test_a_batch_of_a_cell_may_be_drawn_before_any_of_it_has_ended() -> None:
    suggestions = Suggestions(settings(mode=["freeze"], trials=6))
    batch = [suggestions.ask() for _ in range(3)]  # The third is the next cell's first.
    assert len({config.lr for _, config in batch}) == 3
    for number, config in batch:
        suggestions.tell(number, "done", 10, value_of(config))
    assert suggestions.drawn == 3


@pytest.mark.parametrize("design", ["joint", "cells"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_search_that_goes_on_draws_what_it_would_have_drawn(name: str, design: str) -> None:
    given = settings(sampler=name, design=design)
    n = 14 if name == "gp" else 30
    whole = run(Suggestions(given), n)
    assert len({(*cell(r), r.config.lr) for r in whole}) == n
    first = run(Suggestions(given), n // 2)
    assert first + run(Suggestions(given, first), n - n // 2) == whole


@pytest.mark.parametrize("objective", ["score", "pareto"])
def test_a_search_that_was_cut_goes_on_with_the_trial_that_ran(objective: str) -> None:
    given = settings(objective=objective, design="joint")
    whole = run(Suggestions(given), 12)
    before = run(Suggestions(given), 8)
    cut = record_of(7, before[7].config, "interrupted")
    later = Suggestions(given, [*before[:7], cut])
    assert later.drawn == 8
    value = before[7].value("val_log_loss")
    later.tell(7, before[7].status, len(before[7].history), value)
    assert before + run(later, 4) == whole


@drawn_from(lost=st.sets(st.integers(0, 9)))
@hypothesis_settings(max_examples=10, deadline=None)
def test_what_was_drawn_but_never_started_is_drawn_again(lost: set[int]) -> None:
    given = settings(sampler="random")
    whole = run(Suggestions(given), 12)
    kept = [r for r in whole[:10] if r.draw not in lost]
    later = Suggestions(given, kept)
    assert later.drawn == 10 - len(lost)
    again = run(later, 12 - later.drawn)
    assert sorted(kept + again, key=lambda r: r.trial) == whole


def test_configuration_that_was_drawn_before_gets_new_seeds() -> None:
    given: dict[str, Any] = {"mode": ["freeze"], "train_ratio": ["0.1"], "lr": ["0.01"]}
    seeds: dict[Any, list[int]] = {}
    for r in run(Suggestions(settings(**given, aux_weight=["0", "1", "0.5"])), 9):
        seeds.setdefault(r.config.aux_weight, []).append(r.config.seed)
    assert sum(map(len, seeds.values())) == 9
    for drawn in seeds.values():
        assert drawn == [8 * i for i in range(len(drawn))]


def test_tpe_comes_closer_than_chance_and_neighbouring_seeds_draw_other_trials() -> None:
    given = {"mode": ["freeze"], "train_ratio": ["0.1"], "aux_weight": ["0"], "lr": ["1e-5", "1"]}
    tpe = run(Suggestions(settings(**given)), 40)
    drawn = [run(Suggestions(settings(**given, sampler="random", seed=s)), 40) for s in "01"]
    off = [sum(abs(math.log((r.config.lr or 0) / 3e-3)) for r in f[20:]) for f in (tpe, drawn[0])]
    assert off[0] < 0.6 * off[1]
    assert not {r.config.lr for r in drawn[0]} & {r.config.lr for r in drawn[1]}
