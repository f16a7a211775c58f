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
    factors: dict[str, Any] = {"mode": mode, "train_ratio": ratio, "aux_weight": w}
    return make_record(trial, status, (loss,), **factors, seeds=8 if mode == "freeze" else 1)


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
    (kept,) = [p for p in planned if p.winner]  # Weights of the winner's first fresh seed.
    assert (kept.source, kept.kind, kept.config.seed) == (4, "confirm", FRESH)
    assert kept.config.train_ratio == 0.4
    assert plan(settings(), [RECORDS[2]]) == []


def test_best_network_s_control_has_no_auxiliary_task() -> None:
    controls = [p for p in plan(settings(), RECORDS) if p.kind == "control"]
    assert {(p.source, p.config.aux_weight) for p in controls} == {(4, 0.0)}
    expected = RECORDS[4].config.model_copy(update={"aux_weight": 0.0, "seed": FRESH + 1})
    assert controls[1].config == expected
    frozen = plan(settings(), RECORDS[:2])  # It needs no control; the other mode is left out.
    assert {(p.kind, p.config.mode) for p in frozen} == {("confirm", "freeze")}


@pytest.mark.parametrize(("weights", "control"), [((0.0, 0.3), {0.3}), ((0.0, 0.0), set())])
def test_control_of_a_network_without(weights: tuple[float, float], control: set[float]) -> None:
    records = [record(i, "scratch", 0.1, 0.1 * (i + 1), w=w) for i, w in enumerate(weights)]
    controls = [p for p in plan(settings(mode=["scratch"]), records) if p.kind == "control"]
    assert {p.config.aux_weight for p in controls} == control
    assert {p.source for p in controls} <= {0}


def test_empty_cells_take_the_nearest_ratio_of_their_mode() -> None:
    ratios = ["0.01", "0.05", "0.1", "0.8"]
    records = [record(0, "freeze", 0.01, 0.5), record(1, "freeze", 0.1, 0.4)]
    planned = plan(settings(mode=["freeze"], train_ratio=ratios, confirm_seeds=1), records)
    # 0.05 is 5 times 0.01 and half of 0.1.
    expected = [(0, 0.01), (1, 0.05), (1, 0.1), (1, 0.8)]
    assert [(s, ratio) for s, _, ratio in of_kind(planned, "confirm")] == expected
    for given, most in ((settings(), 15), (settings(confirm=False), 1)):
        assert max_confirm_trials(given) == most >= len(plan(given, RECORDS))


def test_a_study_that_goes_on_runs_what_is_left() -> None:
    planned = plan(settings(), RECORDS)
    statuses: list[Status] = ["done", "failed", "interrupted", "running", "pruned"]
    ran = [
        TrialRecord(10 + i, p.config, status, kind=p.kind, source=p.source)
        for i, (p, status) in enumerate(zip(planned, statuses, strict=False))
    ]
    left = remaining(planned, [*RECORDS, *ran], ran[0])
    assert [p.trial for p in left] == [12, 13] + [None] * (len(planned) - 5)
    expected = [*planned[2:4], *planned[5:]]
    assert [(p.kind, p.config) for p in left] == [(p.kind, p.config) for p in expected]
    assert next(p for p in planned if p.winner) in left
    # The winner alone runs when nothing is confirmed, again only if the weights are another's.
    planned = plan(settings(confirm=False), RECORDS)
    (winner,) = planned
    assert winner == Planned(RECORDS[4].config, "winner", 4, winner=True)
    ran = [TrialRecord(10, winner.config, status="done", kind="winner", source=winner.source)]
    assert remaining(planned, [*RECORDS, *ran], ran[0]) == []
    assert remaining(planned, [*RECORDS, *ran], RECORDS[0]) == planned
    assert remaining(planned, [*RECORDS, *ran], None) == planned
