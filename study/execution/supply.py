"""What a study's workers need, put where they find it, before the first trial."""

import shutil
from dataclasses import replace
from pathlib import Path

from study.cluster.driver_store import Kept, start_keeper
from study.cluster.join import versions
from study.cluster.stores import bucket_of
from study.execution.features import here_if_soon, spread
from study.execution.trial_context import Job
from study.preflight.backbone import frozen_backbone
from study.preflight.prepare import Prepared
from tl_core.data.cache import publish
from tl_core.models.weights import hash_file
from tl_core.training.features import feature_entry, load_features
from tl_core.training.train import needs_features


def job_of(prepared: Prepared) -> Job:
    """Return what every trial shares, once the frozen backbone has run over the images.

    On a cluster a keeper is started, from which the other nodes have their data.
    """
    s, cache = prepared.settings, prepared.settings.cache.resolve()
    images = prepared.images.path.relative_to(s.cache).as_posix()
    folder = prepared.folder.resolve()
    job = Job.here(s, images, folder)
    if prepared.machines.joined:
        keeper = start_keeper(cache, folder)
        kept = bucket_of(s) or Kept(keeper, folder)
        weights = _weights(s.weights, cache)
        job = replace(job, storage=kept, keeper=keeper, weights=weights, versions=versions())
    return replace(job, features=_features(prepared, job))


def _features(prepared: Prepared, job: Job) -> str | None:
    """Run the frozen backbone over the images, unless the cache has what it says of them.

    Returns the name of the cache entry; None if no trial is to attach it.
    """
    s, images = prepared.settings, prepared.images
    if s.weights == "none" or not any(needs_features(mode) for mode in s.mode):
        return None
    backbone = frozen_backbone(s)
    what = (s.backbone, s.weights, s.image_size, backbone.precision)
    forward = spread(job, what, prepared.gpus, prepared.machines.cpus, s.max_failures)
    if prepared.machines.only_cores(prepared.gpus):
        forward = here_if_soon(images, backbone, forward)
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
