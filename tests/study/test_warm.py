import inspect

from ray.tune.execution import tune_controller
from ray.tune.execution.tune_controller import TuneController

from study.slots import Slots
from study.warm import WarmCache, as_bundle, warm_workers

TWO_CORES = Slots(full=2, frozen=1, cpus=2, trials_per_gpu=0)


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


def made_by_ray() -> object:
    return vars(tune_controller)["_ObjectCache"](may_keep_one=True)
