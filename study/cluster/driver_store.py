"""Files between the driver and nodes that share no disk with it.

An actor on the driver's node serves the driver's cache: a node fetches each cache entry once,
through Ray's object store. Checkpoints and the winner go the other way, into the study's folder.
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
from tl_core.data.caching.entries import MANIFEST, damage, publish
from tl_core.training.checkpoints import Content

_PIECE = 64 * 2**20
"""Bytes of one object in Ray's store; files are sent in pieces, as they may not fit."""
_HELD = 8
"""Pieces in the store at a time: few, and nodes that fetch at the same time share them."""
_AT_ONCE = 16
"""Calls that are served at once, so that nodes don't wait for each other's checkpoints."""
_PATIENCE_S = 120.0

Piece = list["ray.ObjectRef[np.ndarray]"]
"""One reference, in a list: a bare reference would be replaced by the object."""


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
        """Return a piece of a file as an object that nodes can also get from each other."""
        with self._putting:
            return self._put(self._cache / name / file, start)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the study's `Storage`."""
        return getattr(self._storage, method)(*arguments)


def start_driver_store(cache: Path, folder: Path) -> Any:
    """Start the actor on the driver's node; it ends with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": _AT_ONCE, "scheduling_strategy": here}
    again = {"max_restarts": -1, "max_task_retries": 3}
    return ray.remote(DriverStore).options(**options, **again).remote(cache, folder)


@dataclass(frozen=True)
class RemoteStore:
    """The storage of other nodes: it calls the driver's."""

    driver_store: Any
    folder: Path
    """The study's, on the driver's disk."""

    def __str__(self) -> str:
        return str(self.folder)

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        content: bytes = self._call("read", name)
        return content

    def write(self, name: str, content: Content) -> None:
        """Replace a file whole; on return it is on the driver's disk."""
        self._call("write", name, bytes(content))  # Ray sends no view.

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._call("remove", name)

    def replace(self, name: str, files: Files) -> None:
        """Replace a folder by one with these files."""
        self._call("replace", name, files)

    def _call(self, method: str, *arguments: object) -> Any:
        try:
            return _retry(lambda: ray.get(self.driver_store.call.remote(method, *arguments)))
        except RayTaskError as error:
            # Ray's copy of an OSError has no errno, by which a full disk is recognised.
            raise error.cause from error


def _retry(call: Callable[[], Any]) -> Any:
    """Call until the driver answers: a short network failure fails no trial."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return call()
        except (ActorUnavailableError, OwnerDiedError):  # The owner of a piece may die.
            if time.monotonic() > end:
                raise
            time.sleep(1)


def receive(driver_store: Any, cache: Path, name: str) -> Path:
    """Fetch a cache entry unless this node has the same, and verify it; return its path.

    One process of the node fetches it and the others wait.

    Raises `OSError` if it can't be written, or did not arrive whole.
    """

    def fault(entry: Path) -> str | None:
        if why := damage(entry):
            return why
        # A study that this node has driven may have read other files than the driver.
        try:
            theirs = bytes(_retry(partial(_piece, driver_store, name, MANIFEST, 0)))
        except FileNotFoundError:  # Somebody has emptied the driver's cache.
            return None
        same = (entry / MANIFEST).read_bytes()[:_PIECE] == theirs
        return None if same else "that of the driver is another one"

    publish(cache / name, partial(_fetch, driver_store, name), fault)
    return cache / name


def _fetch(driver_store: Any, name: str, into: Path) -> None:
    sizes: dict[str, int] = _retry(lambda: ray.get(driver_store.sizes.remote(name)))
    for file, size in sizes.items():
        with (into / file).open("wb") as out:
            for start in range(0, size, _PIECE):
                out.write(_retry(partial(_piece, driver_store, name, file, start)))
    if why := damage(into):
        raise OSError(f"cache entry {name} has not arrived whole: {why}")


def _piece(driver_store: Any, name: str, file: str, start: int) -> memoryview:
    (piece,) = ray.get(driver_store.piece.remote(name, file, start))
    return memoryview(ray.get(piece))


def _put(path: Path, start: int) -> Piece:
    with path.open("rb") as file:
        file.seek(start)
        return [ray.put(np.frombuffer(file.read(_PIECE), np.uint8))]
