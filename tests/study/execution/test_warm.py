import inspect
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from ray.tune.execution import tune_controller
from ray.tune.execution.tune_controller import TuneController

from study.cluster.capacity import Capacity
from study.execution import warm
from study.execution.warm import WarmCache, as_bundle, warm_workers

TWO_CORES = Capacity(full=2, frozen=1, cpus=2, trials_per_gpu=0)


def test_each_kind_keeps_a_worker_a_place() -> None:
    frozen, full = (as_bundle(TWO_CORES, mode) for mode in ("freeze", "scratch"))
    cache = WarmCache({frozen: 1, full: 2})
    assert [cache.cache_object(full, name) for name in "abc"] == [True, True, False]
    assert [cache.cache_object(frozen, name) for name in "de"] == [True, False]
    assert list(cache.flush_cached_objects()) == []
    assert cache.pop_cached_object(as_bundle(TWO_CORES, "finetune")) == "a"
    assert cache.pop_cached_object(frozen) == "d"
    assert not cache.has_cached_object(frozen)
    assert list(cache.flush_cached_objects(force_all=True)) == ["b"]
    assert cache.num_cached_objects == 0


def test_ray_tunes_controller_makes_one() -> None:
    assert "_actor_cache = _ObjectCache(may_keep_one=True)" in inspect.getsource(TuneController)
    with warm_workers(TWO_CORES):
        assert isinstance(made_by_ray(), WarmCache)
    assert not isinstance(made_by_ray(), WarmCache)


def test_a_worker_that_has_died_is_given_up_before_a_trial_is_lost_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = as_bundle(TWO_CORES, "scratch")
    cache, removed, reused = WarmCache({kind: 2}), list[Any](), list[Any]()
    for name in ("dead", "alive"):
        cache.cache_object(kind, Mock(name=name))
    dead, alive = cache._cached_objects[kind]
    controller: Any = Mock(_actor_cache=cache)
    controller._remove_actor = lambda tracked_actor: removed.append(tracked_actor)

    def reuse(_: Any, trial: Any) -> None:
        reused.append(cache.pop_cached_object(kind))

    monkeypatch.setattr(warm, "_lives", lambda _, worker: worker is alive)
    monkeypatch.setattr(warm, "_reuse", reuse)
    trial = SimpleNamespace(placement_group_factory=kind)
    warm._reuse_a_living_one(controller, trial)
    warm._reuse_a_living_one(controller, trial)
    assert (removed, reused) == ([dead], [alive, None])
    dead.set_on_error.assert_called_once_with(None)


def made_by_ray() -> object:
    return vars(tune_controller)["_ObjectCache"](may_keep_one=True)
