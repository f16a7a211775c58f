"""What all trials of a study share: where their data are, and where they store what they make."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from study.cluster.stores import Folder, Storage, StoredFile, bucket_of
from study.config.settings import Settings
from study.errors import NodeError
from study.search.short_sweeps import Shape
from tl_core.config import Metric
from tl_core.data.caching.entries import publish
from tl_core.data.datasets import ImageSet
from tl_core.errors import InputError
from tl_core.files import is_disk_full
from tl_core.models.weights import hash_file
from tl_core.training.checkpoints import EVERY_S

if TYPE_CHECKING:
    from study.preflight.prepare import Prepared  # Workers need not import it.

_received: set[Path] = set()
"""Cache entries that this process has found on its node."""


@dataclass(frozen=True)
class TrialContext:
    """Small: data are named by their cache entry, and attached where a trial runs."""

    cache: Path
    """On each node."""
    images: str
    """Name of the data set's cache entry."""
    storage: Storage
    metric: Metric
    """What the search optimises."""
    checkpoint_every: float = EVERY_S
    """Seconds from one checkpoint of a network to the next."""
    trials_per_gpu: int = 1
    """Workers that share a GPU."""
    deterministic: bool = False
    """Whether GPUs compute the same bits every time."""
    rules: str | None = None
    """Name of the cache entry of the rules of its split, if it has some."""
    aux: str | None = None
    """Name of the cache entry of the auxiliary labels, if they are the user's."""
    features: str | None = None
    """Name of the cache entry of the features that frozen trials attach."""
    activations: tuple[str, ...] = ()
    """Names of those of the activations that partial fine-tuning attaches."""
    weights: str | None = None
    """On a cluster: name in the cache of a file of weights that nodes fetch from the driver."""
    driver_store: Any = None
    """On a cluster: the actor that sends what a node's cache lacks."""
    versions: tuple[tuple[str, str], ...] = ()
    """On a cluster: what each node must have."""

    @classmethod
    def here(cls, settings: Settings, images: str, folder: Path) -> Self:
        """The context of a study on this machine, or on a disk that all nodes share."""
        s, storage = settings, bucket_of(settings) or Folder(folder.resolve())
        given = (s.cache.resolve(), images, storage, s.metric, s.checkpoint_every)
        return cls(*given, deterministic=s.deterministic)

    def checkpoint(self, trial: int) -> StoredFile:
        """Where a trial saves its network while it learns."""
        return StoredFile(self.storage, checkpoint_name(trial))

    def attach(self) -> ImageSet:
        """Map the data set, once a process; fetch it and what else this node's cache lacks."""
        for name in (*filter(None, [self.features]), *self.activations):
            self._entry(name)
        rules, aux = (self._entry(name) if name else None for name in (self.rules, self.aux))
        return _attached(self._entry(self.images), rules, aux)

    def weights_here(self, weights: str) -> str:
        """The weights of a trial, as this node has them."""
        if self.weights is None or weights in ("default", "none"):
            return weights
        entry, _, file = self.weights.rpartition("/")
        return str(self._entry(entry) / file)

    def _entry(self, name: str) -> Path:
        path = self.cache / name
        if self.driver_store is not None and path not in _received:
            from study.cluster.driver_store import receive  # Ray.

            receive(self.driver_store, self.cache, name)
            _received.add(path)
        return path


def checkpoint_name(trial: int) -> str:
    """Return the name of a trial's checkpoint in the study's storage."""
    return f"checkpoints/{trial}.ckpt"


_attached = cache(ImageSet.open)


def make_context(prepared: "Prepared") -> TrialContext:
    """Return the context of a study, without features.

    On a cluster this starts the actor from which the other nodes fetch their data.
    """
    s, cache_folder, folder = prepared.settings, prepared.settings.cache, prepared.folder.resolve()
    images = prepared.images.path.relative_to(cache_folder).as_posix()
    rules, aux = (
        path.relative_to(cache_folder).as_posix() if path else None
        for path in (prepared.images.rules_path, prepared.images.aux_path)
    )
    share, context = prepared.capacity.trials_per_gpu, TrialContext.here(s, images, folder)
    context = replace(context, rules=rules, aux=aux, trials_per_gpu=max(1, share))
    if not prepared.resources.joined:
        return context
    from study.cluster.driver_store import RemoteStore, start_driver_store  # Ray.
    from study.cluster.join import versions

    driver_store = start_driver_store(context.cache, folder)
    return replace(
        context,
        storage=bucket_of(s) or RemoteStore(driver_store, folder),
        driver_store=driver_store,
        weights=_publish_weights(s.weights, context.cache, prepared.end),
        versions=versions(),
    )


def _publish_weights(weights: str, cache: Path, end: float | None) -> str | None:
    """Copy a file of weights into the cache, for the nodes; return its name there."""
    if weights in ("default", "none"):
        return None
    file = hash_file(Path(weights))
    entry = Path("weights") / file.sha256[:24]

    def copy(into: Path) -> None:
        shutil.copyfile(file.path, into / file.path.name)

    publish(cache / entry, copy, end=end)
    return (entry / file.path.name).as_posix()


def shape_of(images: ImageSet, context: TrialContext) -> Shape:
    """The size of frozen trials' data: no features if each seed has a network of its own."""
    if not context.features:
        return Shape(images.sizes, len(images.classes), 0)
    features = np.load(context.cache / context.features / "features.npy", mmap_mode="r")
    return Shape(images.sizes, len(images.classes), int(features.shape[1]))


@contextmanager
def on_node(context: TrialContext) -> Iterator[None]:
    """Raise `NodeError` for what this machine lacks: it would fail trial after trial.

    A full disk stays an `OSError`, which stops a study, too.
    """
    try:
        yield
    except (InputError, OSError) as error:
        if context.versions:
            from study.cluster.join import own_address  # Ray.

            raise NodeError(f"node {own_address()}: {error}") from error
        if isinstance(error, InputError):
            raise NodeError(str(error)) from error
        if is_disk_full(error):
            raise
        raise NodeError(_format_lost(error, context.cache)) from error


def _format_lost(error: OSError, cache: Path) -> str:
    gone, place = isinstance(error, FileNotFoundError), error.filename or cache
    why = "is gone" if gone else f"can't be read: {error.strerror or error}"
    rule = f"; no file of the cache, {cache}, may be removed while a study runs" if gone else ""
    kept = "what has ended is kept, and what the cache lacks is made again"
    return f"{place} {why}, which all trials need{rule}; {kept}"
