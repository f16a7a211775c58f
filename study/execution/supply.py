"""What a study's workers need, put where they find it, before the first trial."""

import shutil
from dataclasses import replace
from pathlib import Path

from study.cluster.driver_store import RemoteStore, start_driver_store
from study.cluster.join import versions
from study.cluster.stores import bucket_of
from study.execution.features import distribute, run_locally_if_fast
from study.execution.trial_context import TrialContext
from study.preflight.prepare import Prepared
from study.preflight.torch_checks import frozen_backbone
from tl_core.data.cache import publish
from tl_core.models.weights import hash_file
from tl_core.training.features import feature_entry, load_features
from tl_core.training.train import needs_features


def make_context(prepared: Prepared) -> TrialContext:
    """Return what every trial shares, once the frozen backbone has run over the images.

    On a cluster a keeper is started, from which the other nodes have their data.
    """
    s, cache = prepared.settings, prepared.settings.cache.resolve()
    images = prepared.images.path.relative_to(s.cache).as_posix()
    folder = prepared.folder.resolve()
    context = TrialContext.here(s, images, folder)
    if prepared.resources.joined:
        driver_store = start_driver_store(cache, folder)
        kept = bucket_of(s) or RemoteStore(driver_store, folder)
        weights = _weights(s.weights, cache)
        context = replace(
            context, storage=kept, driver_store=driver_store, weights=weights, versions=versions()
        )
    return replace(context, features=_features(prepared, context))


def _features(prepared: Prepared, context: TrialContext) -> str | None:
    """Run the frozen backbone over the images, unless the cache has what it says of them.

    Returns the name of the cache entry; None if no trial is to attach it.
    """
    s, images = prepared.settings, prepared.images
    if s.weights == "none" or not any(needs_features(mode) for mode in s.mode):
        return None
    backbone = frozen_backbone(s)
    what = (s.backbone, s.weights, s.image_size, backbone.precision)
    forward = distribute(context, what, prepared.gpus, prepared.resources.cpus, s.max_failures)
    if prepared.resources.only_cores(prepared.gpus):
        forward = run_locally_if_fast(images, backbone, forward)
    load_features(images, backbone, s.cache, forward, s.hflip)
    return feature_entry(images.key, backbone, Path(), s.hflip).as_posix()


def _weights(weights: str, cache: Path) -> str | None:
    """Put a file of weights into the cache, for the nodes; return its name there."""
    if weights in ("default", "none"):
        return None
    file = hash_file(Path(weights))
    entry = Path("weights") / file.sha256[:24]
    publish(cache / entry, lambda into: _copy(file.path, into))
    return (entry / file.path.name).as_posix()


def _copy(file: Path, into: Path) -> None:
    shutil.copyfile(file, into / file.name)
