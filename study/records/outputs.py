"""The outputs of the confirming trials, `outputs/TRIAL.npz`, and what is true of their images.

The ledger has the hash of each file. Images of validation and test are the same for all trials of a
study, so `targets.npz`, whose hash is in study.json, has their labels, and those of the auxiliary
task, once.
"""

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from study.cluster.stores import Storage
from tl_core.aux_task import BRIGHTNESS, AuxOn, AuxTask
from tl_core.data.datasets import ImageSet
from tl_core.data.given.aux_labels import AuxLabels
from tl_core.data.splits import Split
from tl_core.files import replace_file
from tl_core.objectives.outputs import Outputs, pack, unpack

OUTPUTS = "outputs"
"""The folder in a study's."""
_TARGETS = "targets.npz"
_SPLITS = ("val", "test")


class Targets(NamedTuple):
    """What is true of the N images of a split, in the order of the outputs."""

    labels: np.ndarray
    """int64 [N]."""
    aux: np.ndarray
    """Of the auxiliary task (`AuxLabels.values`), [N]."""
    constant: float | None = None
    """Its best constant on the photos that teach it: their mean, or their most frequent class;
    None without a task."""
    groups: np.ndarray | None = None
    """int64 [N]: images that are alike have one number; None if each is its own."""


def outputs_name(trial: int) -> str:
    """Return the name of a trial's outputs in the study's storage."""
    return f"{OUTPUTS}/{trial}.npz"


def keep_outputs(
    storage: Storage, trial: int, outputs: dict[str, Outputs], task: AuxTask = BRIGHTNESS
) -> str:
    """Write a trial's outputs on `val` and `test`; return the hash of the file."""
    content = pack(outputs, task)
    storage.write(outputs_name(trial), content)
    return _hash(content)


def read_outputs(
    folder: Path, trial: int, sha256: str, task: AuxTask = BRIGHTNESS
) -> dict[str, Outputs] | None:
    """Return a trial's outputs by split; None if the file is missing or is not the one written."""
    content = _read(folder / outputs_name(trial), sha256)
    return unpack(content, task) if content else None


def write_targets(folder: Path, images: ImageSet, split: Split, on: AuxOn) -> str:
    """Write what is true of the images of `val` and `test` into a study's folder.

    `split` is the one with the largest training subset, and `on` says which images teach the
    auxiliary task. Returns the hash of the file.
    """
    aux, key = images.aux, images.aux.task.key
    arrays: dict[str, Any] = {}
    if aux.task.kind != "none":
        arrays[f"train_{key}"] = _constant(aux.only(aux.teaching(on, split, images.rules)))
    for name in _SPLITS:
        rows = getattr(split, name)
        arrays |= {f"{name}_labels": images.labels[rows]}
        arrays |= {f"{name}_{key}": aux.values[rows]}
        if images.rules.groups is not None:
            arrays |= {f"{name}_groups": images.rules.groups[rows]}
    archive = io.BytesIO()
    np.savez_compressed(archive, allow_pickle=False, **arrays)
    (folder / OUTPUTS).mkdir(exist_ok=True)
    replace_file(folder / OUTPUTS / _TARGETS, archive.getvalue())
    return _hash(archive.getvalue())


def _constant(aux: AuxLabels) -> np.generic:
    if aux.task.kind == "regression":
        mean: np.generic = aux.values.mean()
        return mean
    return np.bincount(aux.values).argmax()


def read_targets(
    folder: Path, sha256: str, task: AuxTask = BRIGHTNESS
) -> dict[str, Targets] | None:
    """Return what is true of the images by split; None as for `read_outputs`."""
    if not (content := _read(folder / OUTPUTS / _TARGETS, sha256)):
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        constant = arrays.get(f"train_{task.key}")
        return {
            name: Targets(
                arrays[f"{name}_labels"],
                arrays[f"{name}_{task.key}"],
                None if constant is None else float(constant),
                arrays.get(f"{name}_groups"),
            )
            for name in _SPLITS
        }


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, sha256: str) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if _hash(content) == sha256 else None
