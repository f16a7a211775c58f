"""What a study leaves in `runs/NAME/`: study.json, trials.csv, best.json."""

import json
import platform
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.cluster.resources import hardware
from study.config.settings import Settings
from study.config.uris import without_credentials
from study.records.trial_record import TrialRecord, best_of
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import make_split
from tl_core.errors import Fault, InputError
from tl_core.files import replace_file

_VERSIONS = ("tl-study", "torch", "torchvision", "timm", "ray", "optuna", "mlflow", "numpy")
_COLUMNS = ("trial", "status", "mode", "train_ratio", "lr", "aux_weight", "seed", "seeds", "epochs")


class Results:
    """The folder of one study and the files in it; every write replaces a file whole.

    A study that goes on keeps its folder, its id and when it started, as `was` tells them. `nodes`
    are those of the cluster that it runs on.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        images: ImageSet,
        was: Mapping[str, Any] | None = None,
        nodes: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.folder = folder
        self._images, self._split_seed = images, settings.split_seed
        self._metric = settings.metric
        self._hashes: dict[tuple[float, int], dict[str, str]] = {}
        about = {"id": uuid.uuid4().hex} | describe(settings, images) | {"started": _now()}
        if nodes:
            about["hardware"]["nodes"] = list(nodes)
        if was:
            about |= {name: was[name] for name in ("id", "started")}
        self._study = about | {"status": "running"}
        try:
            folder.mkdir(parents=True, exist_ok=was is not None)
        except FileExistsError as error:
            why = f"another study has taken {folder} meanwhile; choose another name"
            raise InputError([Fault("--name", f"{folder.name}: {why}")]) from error
        except OSError as error:
            raise InputError([f"{folder} can't be made: {error.strerror}"]) from error
        self.write("study.json", self._study)

    @property
    def study(self) -> dict[str, Any]:
        """What study.json says."""
        return self._study

    def split_hashes(self, ratio: float, seed: int) -> dict[str, str]:
        """Content hashes of the three parts that a trial of this ratio and seed sees."""
        if (ratio, seed) not in self._hashes:
            self._hashes[ratio, seed] = _parts(self._images, ratio, self._split_seed, seed)
        return self._hashes[ratio, seed]

    def save(self, records: list[TrialRecord], status: str = "running") -> None:
        """Write all three files, of the trials of the search."""
        best = best_of(records, self._metric)
        rows = [r.row() for r in records if r.kind == "search"]
        table = pd.DataFrame(rows, columns=None if rows else _COLUMNS)
        replace_file(self.folder / "trials.csv", table.to_csv(index=False))
        self.write("best.json", self._best(best))
        ended = {} if status == "running" else {"ended": _now()}
        counts = table["status"].value_counts().to_dict()
        self._study |= {"status": status, "trials": counts, **ended}
        self.write("study.json", self._study)

    def write(self, name: str, value: object) -> None:
        """Write one JSON file."""
        text = json.dumps(value, indent=2, default=str, ensure_ascii=False)
        replace_file(self.folder / name, text + "\n")

    def _best(self, best: TrialRecord | None) -> dict[str, Any]:
        if best is None:
            return {"trial": None, "metric": self._metric, "why": "no trial finished"}
        return {
            "trial": best.trial,
            "data": self._study["data"]["name"],
            "metric": self._metric,
            "value": best.value(self._metric),
            "config": best.config.model_dump(),
            "metrics": asdict(best.history[-1]) | best.test,
        }


def describe(settings: Settings, images: ImageSet) -> dict[str, Any]:
    """Settings, data, split hashes, versions and hardware: what it takes to run it again."""
    counts = np.bincount(images.labels, minlength=len(images.classes)).tolist()
    return {
        "settings": settings.model_dump(mode="json")
        | {"tracking_uri": without_credentials(settings.tracking_uri)},
        "data": {
            "name": images.name,
            "key": images.key,
            "images": len(images.labels),
            "image_size": images.image_size,
            "classes": dict(zip(images.classes, counts, strict=True)),
            "skipped": [f"{name}: {reason}" for name, reason in images.bad],
        },
        "splits": split_hashes(settings, images),
        "versions": {"python": platform.python_version()} | {n: version(n) for n in _VERSIONS},
        "hardware": hardware(),
    }


def split_hashes(settings: Settings, images: ImageSet) -> dict[str, str]:
    """Content hash of validation, test, and the training subset at each ratio."""
    hashes: dict[str, str] = {}
    for ratio in settings.train_ratio:
        parts = _parts(images, ratio, settings.split_seed, settings.seed)
        hashes |= {"val": parts["val"], "test": parts["test"], f"train_{ratio}": parts["train"]}
    return hashes


def _parts(images: ImageSet, ratio: float, split_seed: int, seed: int) -> dict[str, str]:
    return make_split(images.labels, ratio, split_seed, seed).hashes(images.ids)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
