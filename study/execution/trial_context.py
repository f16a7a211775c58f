"""What every trial of a study shares: where its data are, and where it leaves what it makes."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from study.cluster.driver_store import receive
from study.cluster.stores import Folder, Storage, StoredFile, bucket_of
from study.config.settings import Settings
from tl_core.config import Metric
from tl_core.data.datasets import ImageSet

_received: set[Path] = set()
"""Cache entries that this process knows its node to have."""


@dataclass(frozen=True)
class TrialContext:
    """Small, since data are attached by the name of their cache entry."""

    cache: Path
    """On each node."""
    images: str
    """Name of the data set's cache entry."""
    storage: Storage
    metric: Metric
    """What the search goes by."""
    features: str | None = None
    """Name of the cache entry of the features that frozen trials attach."""
    weights: str | None = None
    """Name in the cache of a file of weights that nodes get from the driver."""
    driver_store: Any = None
    """On a cluster: the actor that has what a node's cache lacks."""
    versions: tuple[tuple[str, str], ...] = ()
    """On a cluster: what each node must have."""

    @classmethod
    def here(cls, settings: Settings, images: str, folder: Path) -> Self:
        """A study's on this machine, or on a disk that all have."""
        kept = bucket_of(settings) or Folder(folder.resolve())
        return cls(settings.cache.resolve(), images, kept, settings.metric)

    def checkpoint(self, trial: int) -> StoredFile:
        """Where a network that learns is kept after each epoch."""
        return StoredFile(self.storage, checkpoint_name(trial))

    def attach(self) -> ImageSet:
        """The data set, mapped once a process; this node has the features from then on."""
        if self.features:
            self._entry(self.features)
        return _attached(self._entry(self.images))

    def weights_here(self, weights: str) -> str:
        """What a trial calls its weights, as this node has them."""
        if self.weights is None or weights in ("default", "none"):
            return weights
        entry, _, file = self.weights.rpartition("/")
        return str(self._entry(entry) / file)

    def _entry(self, name: str) -> Path:
        path = self.cache / name
        if self.driver_store is not None and path not in _received:
            receive(self.driver_store, self.cache, name)
            _received.add(path)
        return path


def checkpoint_name(trial: int) -> str:
    """Return the name of a trial's checkpoint in the study's storage."""
    return f"checkpoints/{trial}.ckpt"


@cache
def _attached(path: Path) -> ImageSet:
    return ImageSet.open(path)
