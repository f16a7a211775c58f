from typing import Any

import pytest
from ray.tune.search import Searcher

from study.search.confirmation import Planned
from study.search.sampler import Suggestions
from study.search.searcher import StudySearcher, config_of
from tests.support.studies.builders import make_config, make_settings
from tests.support.study_fixtures import Patch

PLANNED = Planned(make_config(seed=10_000), "confirm", 1, winner=True)


@pytest.fixture
def results(monkeypatch: Patch) -> list[tuple[Any, ...]]:
    """The results that the search is given."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(Suggestions, "tell", lambda self, *words: calls.append(words))
    return calls


def make_queue(**given: Any) -> StudySearcher:
    plain = {"data": "photos", "train_ratio": ["0.1"], "trials": 2, "name": "mine", "epochs": 4}
    return StudySearcher(make_settings(**(plain | given)), lambda: [PLANNED], [], 2)


@pytest.fixture
def queue() -> StudySearcher:
    return make_queue()


def result(epoch: int) -> dict[str, Any]:
    return {"val_log_loss": 0.5, "epoch": epoch}


def test_search_comes_first(queue: StudySearcher, results: list[tuple[Any, ...]]) -> None:
    first, second = queue.suggest("a"), queue.suggest("b")
    assert [drawn["trial"] for drawn in (first, second)] == [0, 1]
    assert {drawn["kind"] for drawn in (first, second)} == {"search"}
    assert config_of(first).epochs == 4
    assert queue.suggest("c") is None
    queue.on_trial_complete("a", result(4))
    assert queue.suggest("c") is None
    queue.on_trial_complete("b", result(2))
    third = queue.suggest("c")
    assert config_of(third) == PLANNED.config
    fixed = {"trial": 2, "kind": "confirm", "source": 1, "winner": True, "mode": "freeze"}
    assert third.items() >= fixed.items()
    assert queue.suggest("d") == Searcher.FINISHED
    queue.on_trial_complete("c", result(4))
    assert results == [(0, "done", 4, 0.5), (1, "pruned", 2, 0.5)]


@pytest.mark.parametrize(
    ("last", "error"),
    [(None, True), (result(2), True), ({}, False), (result(4) | {"failure": "E"}, False)],
)
def test_failed(
    queue: StudySearcher, results: list[tuple[Any, ...]], last: Any, error: bool
) -> None:
    queue.suggest("a")
    queue.on_trial_complete("a", last, error)
    assert results == [(0, "failed")]


def test_a_frozen_trial_waits_for_its_place() -> None:
    queue = make_queue(mode=["freeze"], trials=3)
    assert [queue.suggest(name)["trial"] for name in "ab"] == [0, 1]
    assert queue.suggest("c") is None
    queue.on_trial_complete("b", error=True)
    assert queue.suggest("c")["trial"] == 2
