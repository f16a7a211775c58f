from typing import Any

import pytest

from study.config.settings import Settings
from study.records.trial_record import Status, TrialRecord
from study.search.confirmation import FRESH, Planned, max_confirm_trials, plan, remaining
from tests.support.studies.builders import make_record, make_settings


def settings(**given: Any) -> Settings:
    plain = {"data": "photos", "train_ratio": ["0.1", "0.4"]}
    seeds = {"confirm_seeds": 3} if given.get("confirm", True) else {}
    return make_settings(**(plain | seeds | given))


def record(
    trial: int, mode: str, ratio: float, loss: float, status: Status = "done", w: float = 0.5
) -> TrialRecord:
    seeds = 8 if mode == "freeze" else 1
    fixed: dict[str, Any] = {"mode": mode, "train_ratio": ratio, "seeds": seeds, "aux_weight": w}
    return make_record(trial, status, (loss,), **fixed)


RECORDS = [
    record(0, "freeze", 0.1, 0.5),
    record(1, "freeze", 0.1, 0.4),
    record(2, "freeze", 0.4, 0.1, "failed"),
    record(3, "finetune", 0.1, 0.6),
    record(4, "finetune", 0.4, 0.2),
]


def of_kind(planned: list[Planned], kind: str) -> list[tuple[int | None, str, float]]:
    return [(p.source, p.config.mode, p.config.train_ratio) for p in planned if p.kind == kind]


def test_best_of_each_cell_runs_on_the_same_fresh_seeds() -> None:
    planned = plan(settings(), RECORDS)
    cells = [(1, "freeze", 0.1), (1, "freeze", 0.4), (3, "finetune", 0.1), (4, "finetune", 0.4)]
    assert of_kind(planned, "confirm") == [cell for cell in cells for _ in range(3)]
    assert [p.config.seed for p in planned] == [FRESH, FRESH + 1, FRESH + 2] * 5
    assert {p.config.seeds for p in planned} == {1}
    assert planned[0].config.lr == RECORDS[1].config.lr


def test_best_network_s_control_has_no_auxiliary_task() -> None:
    controls = [p for p in plan(settings(), RECORDS) if p.kind == "control"]
    assert {(p.source, p.config.aux_weight) for p in controls} == {(4, 0.0)}
    expected = RECORDS[4].config.model_copy(update={"aux_weight": 0.0, "seed": FRESH + 1})
    assert controls[1].config == expected


def test_frozen_trials_need_no_control() -> None:
    planned = plan(settings(mode=["freeze"]), RECORDS[:2])
    assert {p.kind for p in planned} == {"confirm"}


@pytest.mark.parametrize(("weights", "control"), [((0.0, 0.3), {0.3}), ((0.0, 0.0), set())])
def test_network_without_the_task_is_held_against_the_best_with_it(
    weights: tuple[float, float], control: set[float]
) -> None:
    records = [record(i, "scratch", 0.1, 0.1 * (i + 1), w=w) for i, w in enumerate(weights)]
    controls = [p for p in plan(settings(mode=["scratch"]), records) if p.kind == "control"]
    assert {p.config.aux_weight for p in controls} == control
    assert {p.source for p in controls} <= {0}


def test_weights_are_kept_of_the_winner_s_first_fresh_seed() -> None:
    (kept,) = [p for p in plan(settings(), RECORDS) if p.winner]
    assert (kept.source, kept.kind, kept.config.seed) == (4, "confirm", FRESH)
    assert kept.config.train_ratio == 0.4


def test_winner_alone_runs_when_nothing_is_confirmed() -> None:
    (only,) = plan(settings(confirm=False), RECORDS[:1])
    assert only == Planned(RECORDS[0].config, "winner", 0, winner=True)


def test_empty_cells_take_the_nearest_ratio_of_their_mode() -> None:
    ratios = ["0.01", "0.05", "0.1", "0.8"]
    records = [record(0, "freeze", 0.01, 0.5), record(1, "freeze", 0.1, 0.4)]
    planned = plan(settings(mode=["freeze"], train_ratio=ratios, confirm_seeds=1), records)
    # 0.05 is 5 times 0.01 and half of 0.1.
    expected = [(0, 0.01), (1, 0.05), (1, 0.1), (1, 0.8)]
    assert [(s, ratio) for s, _, ratio in of_kind(planned, "confirm")] == expected


def test_mode_without_a_finished_trial_is_left_out() -> None:
    modes = {p.config.mode for p in plan(settings(), RECORDS[:2])}
    assert modes == {"freeze"}
    assert plan(settings(), [RECORDS[2]]) == []


@pytest.mark.parametrize(("given", "most"), [({}, 15), ({"confirm": False}, 1)])
def test_there_are_no_more_than_said(given: dict[str, Any], most: int) -> None:
    assert max_confirm_trials(settings(**given)) == most
    assert len(plan(settings(**given), RECORDS)) <= most


def test_a_study_that_goes_on_runs_what_is_left() -> None:
    planned = plan(settings(), RECORDS)
    ran = [
        TrialRecord(10 + i, p.config, kind=p.kind, source=p.source)
        for i, p in enumerate(planned[:5])
    ]
    statuses: list[Status] = ["done", "failed", "interrupted", "running", "pruned"]
    for each, status in zip(ran, statuses, strict=True):
        each.status = status
    kept = ran[0]
    at = next(i for i, p in enumerate(planned) if p.winner)
    left = remaining(planned, [*RECORDS, *ran], kept)
    assert [p.trial for p in left] == [12, 13] + [None] * (len(planned) - 5)
    assert [(p.kind, p.config) for p in left] == [
        (p.kind, p.config) for i, p in enumerate(planned) if i in (2, 3) or i >= 5
    ]
    assert planned[at] in left


def test_weights_are_made_again_only_if_they_are_anothers() -> None:
    planned = plan(settings(confirm=False), RECORDS)
    (winner,) = planned
    ran = TrialRecord(10, winner.config, status="done", kind="winner", source=winner.source)
    assert remaining(planned, [*RECORDS, ran], ran) == []
    assert remaining(planned, [*RECORDS, ran], RECORDS[0]) == planned
    assert remaining(planned, [*RECORDS, ran], None) == planned
