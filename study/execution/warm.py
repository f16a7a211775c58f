"""Workers that stay: Ray Tune would end those that no waiting trial needs at the moment.

A frozen trial takes a fraction of a second, a new worker ten. So each kind of trial keeps the
workers that it has a place for, until the search is over. One that has died meanwhile, with its
node say, is given up before a trial is lost on it.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.tune import PlacementGroupFactory
from ray.tune.execution import tune_controller
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from study.cluster.capacity import Capacity

_ANSWER_S = 5.0


class WarmCache(_ObjectCache):
    """Ray Tune's cache of idle workers, by what they asked for; keeps one a place."""

    _cached_objects: dict[Any, list[Any]]

    def __init__(self, places: dict[PlacementGroupFactory, int]) -> None:
        super().__init__()
        self._places = places

    def cache_object(self, key: Any, obj: Any) -> bool:
        """Keep an idle worker if its kind has a place for it."""
        if len(self._cached_objects[key]) >= self._places[key]:
            return False
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Generator[Any, None, None]:
        """Give up nothing before the end."""
        if force_all:
            yield from super().flush_cached_objects(force_all=True)


@contextmanager
def warm_workers(capacity: Capacity) -> Iterator[None]:
    """Have the controller that Ray Tune makes meanwhile keep its workers."""
    places = {as_bundle(capacity, "freeze"): capacity.frozen} if capacity.frozen else {}
    if capacity.full:
        places[as_bundle(capacity, "finetune")] = capacity.full
    # It has no option for this; the names are those that its controller calls.
    cache = mock.patch.object(tune_controller, "_ObjectCache", return_value=WarmCache(places))
    reuse = mock.patch.object(TuneController, "_maybe_reuse_cached_actor", _reuse_a_living_one)
    with cache, reuse:
        yield


_reuse = TuneController._maybe_reuse_cached_actor


def _reuse_a_living_one(controller: TuneController, trial: Any) -> bool:
    kind, cache = trial.placement_group_factory, controller._actor_cache
    while cache.has_cached_object(kind) and not _lives(controller, cache._cached_objects[kind][0]):
        dead: Any = cache.pop_cached_object(kind)
        dead.set_on_stop(None)
        dead.set_on_error(None)
        controller._remove_actor(tracked_actor=dead)
    return bool(_reuse(controller, trial))


def _lives(controller: TuneController, worker: Any) -> bool:
    actor, _ = controller._actor_manager._live_actors_to_ray_actors_resources[worker]
    try:
        ray.get(actor.__ray_ready__.remote(), timeout=_ANSWER_S)
    except (RayActorError, GetTimeoutError):
        return False
    return True


def as_bundle(capacity: Capacity, mode: str) -> PlacementGroupFactory:
    """What a trial asks for, as Ray Tune wants it."""
    return PlacementGroupFactory([capacity.resources(mode)])
