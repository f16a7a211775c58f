"""The driver's end of a cluster without a shared disk: what nodes lack goes out, results come in.

An actor beside the driver. A node asks it for each cache entry once, and gets it through Ray's
object store; checkpoints and the winner come the other way, into the study's folder.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import ActorUnavailableError, OwnerDiedError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.cluster.stores import Files, Folder
from tl_core.data.cache import damage, publish

_PIECE = 64 * 2**20
"""Bytes of one object in Ray's store, which need not hold a whole file then."""
_HELD = 8
"""Pieces that the store has at a time: nodes that fetch together share them, and it stays small."""
_AT_ONCE = 16
"""Calls that are served at once: nodes shall not wait for each other's checkpoints."""
_PATIENCE_S = 120.0

Piece = list["ray.ObjectRef[np.ndarray]"]
"""Just one: in a list, as Ray sends the object itself otherwise."""


class DriverStore:
    """Serves the cache of the driver's machine and writes into the study's folder."""

    def __init__(self, cache: Path, folder: Path) -> None:
        self._cache, self._storage = cache, Folder(folder)
        self._put = lru_cache(_HELD)(_put)
        self._putting = threading.Lock()

    def sizes(self, name: str) -> dict[str, int]:
        """Return the files of a cache entry and their sizes in bytes."""
        files = [path for path in (self._cache / name).iterdir() if path.name[0] != "."]
        return {path.name: path.stat().st_size for path in files}

    def piece(self, name: str, file: str, start: int) -> Piece:
        """Return what a file holds from a place on, an object that nodes get from each other."""
        with self._putting:
            return self._put(self._cache / name / file, start)

    def call(self, what: str, *given: Any) -> Any:
        """Do what a `Storage` does."""
        return getattr(self._storage, what)(*given)


def start_driver_store(cache: Path, folder: Path) -> Any:
    """Start one on the driver's node; it ends with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": _AT_ONCE, "scheduling_strategy": here}
    again = {"max_restarts": -1, "max_task_retries": 3}
    return ray.remote(DriverStore).options(**options, **again).remote(cache, folder)


@dataclass(frozen=True)
class RemoteStore:
    """The storage that a keeper is for others."""

    driver_store: Any
    folder: Path
    """The study's, on the driver's disk."""

    def __str__(self) -> str:
        return str(self.folder)

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        content: bytes = self._call("read", name)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Replace a file whole; on return it is on the driver's disk."""
        self._call("write", name, content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._call("remove", name)

    def replace(self, name: str, files: Files) -> None:
        """Put a new folder in the place of what is there."""
        self._call("replace", name, files)

    def _call(self, what: str, *given: object) -> Any:
        try:
            return _patiently(lambda: ray.get(self.driver_store.call.remote(what, *given)))
        except RayTaskError as error:
            # Ray's own copy of an OSError has lost its number, by which a full disk is known.
            raise error.cause from error


def _patiently(ask: Callable[[], Any]) -> Any:
    """Ask until the keeper answers: a network that is away for a while fails no trial."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask()
        except (ActorUnavailableError, OwnerDiedError):  # The second of a piece.
            if time.monotonic() > end:
                raise
            time.sleep(1)


def receive(driver_store: Any, cache: Path, name: str) -> Path:
    """Have this node's cache hold an entry, and verify it; return where it is.

    One process of the node fetches it and the others wait.

    Raises `OSError` if it can't be written, or did not arrive whole.
    """
    publish(cache / name, partial(_fetch, driver_store, name), damage)
    return cache / name


def _fetch(driver_store: Any, name: str, into: Path) -> None:
    sizes: dict[str, int] = _patiently(lambda: ray.get(driver_store.sizes.remote(name)))
    for file, size in sizes.items():
        with (into / file).open("wb") as out:
            for start in range(0, size, _PIECE):
                out.write(_patiently(partial(_piece, driver_store, name, file, start)))
    if why := damage(into):
        raise OSError(f"cache entry {name} has not arrived whole: {why}")


def _piece(driver_store: Any, name: str, file: str, start: int) -> memoryview:
    (piece,) = ray.get(driver_store.piece.remote(name, file, start))
    return memoryview(ray.get(piece))


def _put(path: Path, start: int) -> Piece:
    with path.open("rb") as file:
        file.seek(start)
        return [ray.put(np.frombuffer(file.read(_PIECE), np.uint8))]
