"""Workers stay where Ray Tune's controller is as expected; elsewhere nothing is touched."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import PlacementGroupFactory
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from study.cluster.ray_private import PLAIN, WarmCache, keep_workers

FROZEN, FULL = PlacementGroupFactory([{"CPU": 0.25}]), PlacementGroupFactory([{"CPU": 0.75}])
PLACES = {FROZEN: 1, FULL: 2}


@pytest.fixture(autouse=True)
def _not_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLAIN, raising=False)


def controller() -> Any:
    """As Ray Tune hands it to a scheduler: with a wrapper around it."""
    manager = SimpleNamespace(_live_actors_to_ray_actors_resources={})
    inner = SimpleNamespace(_actor_cache=_ObjectCache(), _actor_manager=manager)
    return SimpleNamespace(_tune_controller=inner)


def test_the_controller_of_one_study_gets_the_cache() -> None:
    given = controller()
    assert keep_workers(given, PLACES)
    assert isinstance(given._tune_controller._actor_cache, WarmCache)
    assert {"_actor_cache", "_actor_manager"} <= set(TuneController.__init__.__code__.co_names)


class OtherCache(_ObjectCache):
    def evict(self) -> None: ...


@pytest.mark.parametrize("case", ["forced", "no cache", "another cache", "other actors"])
def test_a_controller_that_is_not_as_expected_is_left_alone(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = controller()
    inner = given._tune_controller
    if case == "forced":
        monkeypatch.setenv(PLAIN, "1")
    elif case == "no cache":
        del inner._actor_cache
    elif case == "another cache":
        inner._actor_cache = OtherCache()
    else:
        inner._actor_manager = None
    before = dict(vars(inner))
    assert not keep_workers(given, PLACES)
    assert vars(inner) == before


def test_each_kind_keeps_a_worker_a_place() -> None:
    cache = WarmCache(PLACES, lambda _: True)
    assert [cache.cache_object(FULL, name) for name in "abc"] == [True, True, False]
    assert [cache.cache_object(FROZEN, name) for name in "de"] == [True, False]
    assert list(cache.flush_cached_objects()) == []
    assert cache.total_max_objects > 0  # Else Ray Tune flushes all before the last trials.
    assert cache.pop_cached_object(PlacementGroupFactory([{"CPU": 0.75}])) == "a"
    assert cache.pop_cached_object(FROZEN) == "d"
    assert not cache.has_cached_object(FROZEN)
    assert cache.pop_cached_object(FROZEN) is None
    assert list(cache.flush_cached_objects(force_all=True)) == ["b"]
    assert cache.num_cached_objects == 0


def test_a_worker_that_has_died_is_given_up_before_a_trial_is_lost_on_it() -> None:
    cache = WarmCache(PLACES, lambda worker: worker == "alive")
    for worker in ("dead", "alive"):
        cache.cache_object(FULL, worker)
    assert cache.has_cached_object(FULL)
    assert cache.pop_cached_object(FULL) == "alive"
    assert list(cache.flush_cached_objects()) == ["dead"]
    assert not cache.has_cached_object(FULL)
