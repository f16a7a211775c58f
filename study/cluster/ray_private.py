"""The only module that uses private names of Ray, each with a public way for a Ray without them.

Ray Tune ends a worker as soon as no waiting trial needs one. A frozen trial takes a fraction of a
second and a new worker ten, so each kind of trial keeps its workers until the search is over. Ray
has no option for this: `keep_workers` gives the one controller of the study a cache of our own. If
the controller is not as expected, nothing changes, and Ray ends workers and starts them again
(`reuse_actors=True`): slower, with the same results. TL_STUDY_PLAIN_RAY=1 forces this way.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.tune import PlacementGroupFactory

PLAIN = "TL_STUDY_PLAIN_RAY"
_ANSWER_S = 5.0


def keep_workers(tune_controller: Any, places: Mapping[PlacementGroupFactory, int]) -> bool:
    """Have this controller keep an idle worker for each place; return whether it does.

    Args:
        tune_controller: what Ray Tune hands to a scheduler, before any trial has run.
        places: how many workers of each kind there is room for.
    """
    controller = getattr(tune_controller, "_tune_controller", tune_controller)
    cache = getattr(controller, "_actor_cache", None)
    manager = getattr(controller, "_actor_manager", None)
    actors = getattr(manager, "_live_actors_to_ray_actors_resources", None)
    if os.environ.get(PLAIN) or not isinstance(actors, dict):
        return False
    if _public(cache) != _public(WarmCache):
        return False
    controller._actor_cache = WarmCache(
        places, lambda worker: worker in actors and _is_alive(actors[worker][0])
    )
    return True


def _public(what: Any) -> set[str]:
    return {name for name in dir(what) if not name.startswith("_")}


def _is_alive(actor: Any) -> bool:
    try:
        ray.get(actor.__ray_ready__.remote(), timeout=_ANSWER_S)
    except (RayActorError, GetTimeoutError):
        return False
    return True


class WarmCache:
    """Idle workers by what they asked for, with the methods of Ray Tune's own cache.

    It keeps one worker for each place. It gives up a worker that has died, with its node for
    example, before a trial is lost on it.
    """

    def __init__(
        self, places: Mapping[PlacementGroupFactory, int], is_alive: Callable[[Any], bool]
    ) -> None:
        self._places, self._is_alive = places, is_alive
        self._idle: dict[PlacementGroupFactory, list[Any]] = defaultdict(list)
        self._dead: list[Any] = []

    @property
    def num_cached_objects(self) -> int:
        """Idle workers."""
        return sum(map(len, self._idle.values()))

    @property
    def total_max_objects(self) -> int:
        """Not 0: Ray Tune would end all idle workers when the last trial has been drawn."""
        return 1

    def increase_max(self, key: PlacementGroupFactory, by: int = 1) -> None:
        """Called when trials wait for a worker."""

    def decrease_max(self, key: PlacementGroupFactory, by: int = 1) -> None:
        """Called when trials have a worker."""

    def has_cached_object(self, key: PlacementGroupFactory) -> bool:
        """Whether an idle worker of this kind is alive."""
        idle = self._idle[key]
        while idle and not self._is_alive(idle[0]):
            self._dead.append(idle.pop(0))
        return bool(idle)

    def cache_object(self, key: PlacementGroupFactory, obj: Any) -> bool:
        """Keep an idle worker if its kind has a place for it."""
        if len(self._idle[key]) >= self._places.get(key, 0):
            return False
        self._idle[key].append(obj)
        return True

    def pop_cached_object(self, key: PlacementGroupFactory) -> Any:
        """Hand out an idle worker, or None."""
        return self._idle[key].pop(0) if self._idle[key] else None

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
        """Give up the dead ones, and at the end all."""
        while self._dead:
            yield self._dead.pop()
        for idle in self._idle.values() if force_all else ():
            while idle:
                yield idle.pop(0)
