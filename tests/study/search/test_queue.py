"""In which order trials come, what makes a batch, and when a stage begins."""

from typing import Any

import pytest

from study.config.settings import Design
from study.search.cells import Cell
from study.search.confirmation import Planned
from study.search.queue import BATCH, TrialQueue
from study.search.sampler import Suggestions
from tests.support.studies.builders import make_config, make_record, make_settings
from tests.support.study_fixtures import Patch
from tl_core.config import Mode, TrialConfig

Told = list[tuple[Any, ...]]


def planned(mode: Mode = "freeze", train_ratio: float = 0.1, **given: Any) -> Planned:
    factors = {"mode": mode, "train_ratio": train_ratio}
    kind = given.pop("kind", "confirm")
    winner = given.pop("winner", False)
    return Planned(make_config(**factors | given), kind, 0, winner=winner)


class Script:
    """Stands for `Suggestions`: draws these configurations, and keeps what it is told."""

    def __init__(self, configs: list[TrialConfig]) -> None:
        self.configs, self.drawn, self.told = configs, 0, Told()

    def ask(self) -> tuple[int, TrialConfig]:
        """Draw the next one."""
        self.drawn += 1
        return self.drawn - 1, self.configs[self.drawn - 1]

    def has_turns(self, cell: Cell) -> bool:
        """Whether some of the others are of this cell."""
        return cell in map(Cell.of, self.configs[self.drawn :])

    def tell(self, *told: Any) -> None:
        """Keep it."""
        self.told.append(told)


def make_queue(
    patch: Patch, modes: list[Mode], stages: list[list[Planned]], design: Design = "joint"
) -> tuple[TrialQueue, Script]:
    """A queue that draws these modes, one trial each at the ratios 0.1, 0.2, 0.1, 0.2, ..."""
    ratios = (0.1, 0.2)
    configs = [make_config(mode=m, train_ratio=ratios[i % 2]) for i, m in enumerate(modes)]
    script = Script(configs)
    patch.setattr("study.search.queue.Suggestions", lambda *_: script)
    settings = make_settings(data="photos", design=design, train_ratio=ratios)
    settings = settings.model_copy(
        update={"trials": len(modes), "mode": tuple(dict.fromkeys(modes))}
    )
    return TrialQueue(settings, lambda: stages.pop(0) if stages else []), script


def modes_and_numbers(batch: list[Planned]) -> list[tuple[str, int | None]]:
    return [(p.config.mode, p.trial) for p in batch]


def test_a_joint_search_has_batches_of_frozen_trials_that_follow_each_other(
    monkeypatch: Patch,
) -> None:
    modes: list[Mode] = ["freeze", "freeze", "finetune", "finetune", "freeze"]
    queue, script = make_queue(monkeypatch, modes, [])
    batches = [modes_and_numbers(queue.next()) for _ in range(5)]
    assert batches == [
        [("freeze", 0), ("freeze", 1)], [("finetune", 2)], [("finetune", 3)], [("freeze", 4)], [],
    ]  # fmt: skip
    assert not queue.finished
    for trial in range(5):
        queue.ended(trial, "done", 2, 0.5)
    assert script.told == [(trial, "done", 2, 0.5) for trial in range(5)]
    assert (queue.next(), queue.finished) == ([], True)


def test_a_network_is_drawn_when_it_can_start(monkeypatch: Patch) -> None:
    queue, script = make_queue(monkeypatch, ["finetune", "finetune"], [])
    found = []
    for _ in range(2):
        found.append((len(queue.next()), script.drawn, queue.waits(), script.drawn))
        queue.ended(len(found) - 1, "done", 2, 0.5)
    assert found == [(1, 1, False, 1), (1, 2, True, 2)], "the second learns from the first"


def test_with_cells_a_batch_is_of_one_cell(monkeypatch: Patch) -> None:
    queue, script = make_queue(monkeypatch, ["freeze", "freeze"], [], design="cells")
    assert [Cell.of(p.config) for p in queue.next()] == [("freeze", 0.1)]
    assert script.drawn == 1, "the next cell begins with what this one finds"
    assert [Cell.of(p.config) for p in queue.next()] == [("freeze", 0.2)]


def test_a_cell_begins_with_the_best_of_the_last_one() -> None:
    settings = make_settings(data="photos", mode=("freeze",), train_ratio=(0.1, 0.3), trials=4)
    queue = TrialQueue(settings, list)
    large, small = queue.next(), []
    for planned in large:
        queue.ended(planned.trial or 0, "done", 1, float(planned.config.lr or 0))
    small = queue.next()
    assert [len(large), len(small)] == [2, 2]
    assert small[0].config.lr == min(planned.config.lr or 0 for planned in large)


def test_a_resumed_cell_gets_what_it_lacks() -> None:
    settings = make_settings(data="photos", mode=("freeze",), train_ratio=(0.1, 0.3), trials=6)
    drawn = TrialQueue(settings, list).next()
    records = [make_record(i, "done" if i else "interrupted", train_ratio=0.3) for i in range(2)]
    for planned, record in zip(drawn, records, strict=False):
        record.config, record.draw = planned.config, planned.draw
    queue = TrialQueue(settings, list, records)
    assert [(p.trial, p.config.train_ratio) for p in queue.next()] == [(0, 0.3), (2, 0.3)]
    assert {p.config.train_ratio for p in queue.next()} == {0.1}


@pytest.mark.parametrize("kept", [(0, 1, 2), (2,)], ids=["were cut off", "never started"])
def test_trials_of_a_cell_that_an_earlier_run_has_drawn_are_one_batch(
    kept: tuple[int, ...],
) -> None:
    settings = make_settings(data="photos", mode=("freeze",), train_ratio=(0.1, 0.3), trials=6)
    drawn = TrialQueue(settings, list).next()
    assert len(drawn) == 3, "the cell has no more"
    records = []
    for i in kept:
        record = make_record(i, "done" if i == 2 else "interrupted", train_ratio=0.3)
        record.config, record.draw = drawn[i].config, i
        records.append(record)
    queue = TrialQueue(settings, list, records)
    assert [p.draw for p in queue.next()] == [0, 1]
    assert {p.config.train_ratio for p in queue.next()} == {0.1}


def test_a_batch_has_sixteen_trials_at_most(monkeypatch: Patch) -> None:
    queue, _ = make_queue(monkeypatch, ["freeze"] * 20, [])
    assert [len(queue.next()) for _ in range(3)] == [BATCH, 4, 0]


def test_each_stage_begins_when_all_trials_before_have_ended(monkeypatch: Patch) -> None:
    repeat = [planned(kind="confirm", seed=seed) for seed in (1, 2)]
    last = [planned("finetune"), planned(kind="winner", winner=True), planned("freeze", seed=3)]
    queue, script = make_queue(monkeypatch, ["finetune"], [repeat, last])
    assert modes_and_numbers(queue.next()) == [("finetune", 0)]
    assert queue.next() == []
    queue.ended(0, "failed")
    assert modes_and_numbers(queue.next()) == [("freeze", 1), ("freeze", 2)]
    queue.ended(1, "done", 2, 0.5)
    assert queue.next() == []
    queue.ended(2, "done", 2, 0.5)
    # A winner leaves weights, and is no part of a batch.
    assert [modes_and_numbers(queue.next()) for _ in range(4)] == [
        [("finetune", 3)], [("freeze", 4)], [("freeze", 5)], [],
    ]  # fmt: skip
    for trial in (3, 4, 5):
        queue.ended(trial, "done")
    assert (queue.next(), queue.finished) == ([], True)
    assert script.told == [(0, "failed", 0, None)], "only the search is told"


def test_confirming_trials_of_two_cells_are_two_batches(monkeypatch: Patch) -> None:
    stage = [planned("freeze", ratio, seed=seed) for ratio in (0.1, 0.2) for seed in (1, 2)]
    queue, _ = make_queue(monkeypatch, [], [stage])
    assert [[p.config.seed for p in queue.next()] for _ in range(2)] == [[1, 2], [1, 2]]


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_a_resumed_study_begins_with_what_was_cut_off(status: Any) -> None:
    settings = make_settings(data="photos", trials=3, design="joint", train_ratio=(0.1,))
    whole = Suggestions(settings)
    drawn = [whole.ask() for _ in range(3)]
    # Trial 7 ended, trial 8 was cut off, and draw 2 never started.
    records = [
        make_record(7 + i, state, log_losses=(0.5, 0.25)[: 2 * (i == 0)])
        for i, state in enumerate(("done", status))
    ]
    for (number, config), record in zip(drawn, records, strict=False):
        record.config, record.draw = config, number
    queue = TrialQueue(settings, list, records)
    found = []
    while batch := queue.next():
        found += batch
    assert [(p.trial, p.draw, p.config) for p in found] == [
        (8, 1, drawn[1][1]), (9, 2, drawn[2][1]),
    ]  # fmt: skip
