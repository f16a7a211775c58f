"""Which network gets a control, with which auxiliary weight, and how that is tuned."""

import pytest

from study.config.settings import Settings
from study.records.trial_record import TrialRecord
from study.search.choosing import FRESH, REPEATED
from study.search.confirmation import plan, remaining
from tests.study.search.test_confirmation import kinds, settings
from tests.support.studies.stages import finish, run_stage, search_record


@pytest.mark.parametrize(("given", "weights", "control"), [
    (["0", "0.9"], (0.0, 0.3), {0.3}), (["0", "0.9"], (0.0, 0.0), {0.45}),
    (["0", "0.2", "auto"], (0.0, 0.0), {0.2}), (["0"], (0.0, 0.0), set()),
])  # fmt: skip
def test_control_of_a_network_without(
    given: list[str], weights: tuple[float, ...], control: set[float]
) -> None:
    records = [
        search_record(i, "scratch", 0.1, 0.1 * (i + 1), lr=1e-3, aux_weight=w)
        for i, w in enumerate(weights)
    ]
    planned = finish(settings(mode=["scratch"], aux_weight=given), records)
    assert {p.config.aux_weight for p in planned if p.kind == "control"} == control
    assert {p.source for p in planned if p.kind == "control"} <= {0}


def test_control_of_a_tuned_network_is_tuned_alike() -> None:
    records = [
        search_record(i, "finetune", 0.1, 0.1 * (i + 1), lr=1e-4 * (i + 1), aux_weight=0.1 * i)
        for i in range(8)
    ]
    given = settings(mode=["finetune"], train_ratio=["0.1"])
    run_stage(given, records)
    assert kinds(run_stage(given, records)) == {"confirm"}
    # Trial 0 is best, and has no weight: the control has that of the best one with the task.
    repeats = plan(given, records)
    assert {(p.kind, p.source, p.config.aux_weight) for p in repeats} == {
        ("repeat", i, 0.1) for i in range(3)
    }
    # Trial 1 with its own weight is there already.
    assert {p.source for p in remaining(repeats, records, None)} == {0, 2}
    run_stage(given, records, {(2, REPEATED + i): 0.01 for i in range(3)}, default=0.5)
    control = [p for p in plan(given, records) if p.kind == "control"]
    assert {(p.source, p.config.aux_weight) for p in control} == {(2, 0.1)}
    assert len(control) == given.confirm_seeds


def test_control_may_have_a_much_higher_or_lower_learning_rate_than_the_task_asks_for() -> None:
    rates = [1e-3, 1.1e-3, 1.2e-3, 2e-3, 4e-4, 3e-4, 2e-3, 5e-3, 1e-5]
    records = [
        search_record(i, "finetune", 0.1, 0.1 * (i + 1), lr=lr, aux_weight=0.9)
        for i, lr in enumerate(rates)
    ]
    given = settings(mode=["finetune"], train_ratio=["0.1"], aux_weight=["0.9"])
    run_stage(given, records)
    run_stage(given, records)
    # The three best, and the best one at a third of trial 0's rate at most, and at three times it.
    repeats = plan(given, records)
    assert {(p.kind, p.source, p.config.aux_weight) for p in repeats} == {
        ("repeat", i, 0.0) for i in (0, 1, 2, 5, 7)
    }
    run_stage(given, records, {(5, REPEATED + i): 0.01 for i in range(3)}, default=0.5)
    assert {p.source for p in plan(given, records) if p.kind == "control"} == {5}


def two_networks(losses: dict[int, float]) -> tuple[Settings, list[TrialRecord]]:
    """Trials 0 and 2 are best by their repeats; those of the losses, on the fresh seeds."""
    records = [
        search_record(i, mode, 0.1, 0.3 + 0.1 * (i % 2), lr=1e-4 * (i + 1))
        for i, mode in enumerate(("finetune", "finetune", "scratch", "scratch"))
    ]
    given = settings(mode=["finetune", "scratch"], train_ratio=["0.1"])
    run_stage(given, records, {(0, REPEATED + i): 0.2 for i in range(3)}, default=0.4)
    fresh = {(source, FRESH + i): loss for source, loss in losses.items() for i in range(3)}
    assert kinds(run_stage(given, records, fresh)) == {"confirm"}
    return given, records


def test_control_is_of_the_network_that_is_best_on_other_seeds_than_its_own() -> None:
    given, records = two_networks({2: 0.1})
    last = finish(given, records)
    assert [(p.kind, p.source) for p in last] == [("control", 0)] * 3 + [("winner", 2)]
