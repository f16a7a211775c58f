"""The files that a study writes while it runs: study.json, trials.csv, best.json."""

import json
import platform
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from study.cluster.resources import hardware
from study.config.settings import Settings
from study.config.uris import without_credentials
from study.records.outputs import write_targets
from study.records.study_folder import BEST, STUDY, TRIALS
from study.records.trial_record import TrialRecord, best_of
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import Split
from tl_core.data.splitting.balance import balance_note
from tl_core.data.splitting.copies import COPIES_FORMAT
from tl_core.errors import Fault, InputError
from tl_core.files import replace_file

_VERSIONS = ("tl-study", "torch", "torchvision", "timm", "ray", "optuna", "mlflow", "numpy")
_COLUMNS = ("trial", "status", "mode", "train_ratio", "lr", "aux_weight", "seed", "seeds", "epochs")


class Results:
    """The folder of one study and the files in it; each write replaces a whole file.

    `was` is the study.json of a study that is resumed: it keeps its folder, id and start. `nodes`
    are the nodes of the cluster, if it runs on one. `confirm_seeds` are those of the trials that
    confirm.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        images: ImageSet,
        was: Mapping[str, Any] | None = None,
        nodes: Sequence[dict[str, Any]] = (),
        confirm_seeds: Sequence[int] = (),
    ) -> None:
        self.folder = folder
        self._settings, self._images = settings, images
        self._hashes: dict[tuple[float, int], dict[str, str]] = {}
        self.study = {"id": uuid.uuid4().hex, **self._inputs(), "started": _now()}
        """The content of study.json."""
        if confirm_seeds and images.rules.groups is not None:
            # The groups that a seed draws decide how many images there are.
            self.study["mean_train_sizes"] = {
                f"train_{ratio}": float(
                    np.mean([len(self._split(ratio, seed).train) for seed in confirm_seeds])
                )
                for ratio in settings.train_ratio
            }
        if nodes:
            self.study["hardware"]["nodes"] = list(nodes)
        if settings.debug:  # Workers have one.
            self.study["hardware"]["threads"] = torch.get_num_threads()
        if was:
            self.study |= {name: was[name] for name in ("id", "started")}
        self.study["status"] = "running"
        try:
            folder.mkdir(parents=True, exist_ok=was is not None)
        except FileExistsError as error:
            why = f"another study has just created {folder}; choose another name"
            raise InputError([Fault("--name", f"{folder.name}: {why}")]) from error
        except OSError as error:
            raise InputError([f"{folder} can't be made: {error.strerror}"]) from error
        if settings.confirm and not settings.debug:
            split = self._split(max(settings.train_ratio), settings.seed)
            self.study["targets"] = write_targets(folder, images, split, settings.aux_images)
        self._write(STUDY, self.study)

    def split_hashes(self, ratio: float, seed: int) -> dict[str, str]:
        """Content hashes of the three parts that a trial of this ratio and seed sees."""
        if (ratio, seed) not in self._hashes:
            self._hashes[ratio, seed] = self._split(ratio, seed).hashes(self._images.ids)
        return self._hashes[ratio, seed]

    def _split(self, ratio: float, seed: int) -> Split:
        return self._images.split(ratio, self._settings.split_seed, seed)

    def save(
        self,
        records: list[TrialRecord],
        status: str = "running",
        winner: TrialRecord | None = None,
    ) -> None:
        """Write all three files; trials.csv has the trials of the search.

        best.json has the winner, or the best trial of the search as long as there is none.
        """
        rows = [r.row() for r in records if r.kind == "search"]
        table = pd.DataFrame(rows, columns=None if rows else _COLUMNS)
        replace_file(self.folder / TRIALS, table.to_csv(index=False))
        self._write(BEST, self._best(winner or best_of(records, self._settings.metric)))
        ended = {} if status == "running" else {"ended": _now()}
        counts = table["status"].value_counts().to_dict()
        self.study |= {"status": status, "trials": counts, **ended}
        self._write(STUDY, self.study)

    def _write(self, name: str, value: object) -> None:
        text = json.dumps(value, indent=2, default=str, ensure_ascii=False)
        replace_file(self.folder / name, text + "\n")

    def _best(self, best: TrialRecord | None) -> dict[str, Any]:
        metric = self._settings.metric
        if best is None:
            return {"trial": None, "metric": metric, "why": "no trial finished"}
        return {
            "trial": best.trial,
            "source": best.trial if best.source is None else best.source,
            "data": self._images.name,
            "metric": metric,
            "value": best.value(metric),
            "config": best.config.model_dump(),
            "metrics": best.history[-1].plain() | best.test,
        }

    def _inputs(self) -> dict[str, Any]:
        """What it takes to run the study again."""
        settings, images = self._settings, self._images
        seeds = settings.split_seed, settings.seed
        balance = balance_note(images.labels, images.rules, settings.train_ratio, *seeds)
        counts = np.bincount(images.labels, minlength=len(images.classes)).tolist()
        splits: dict[str, str] = {}
        sizes: dict[str, int] = {}
        for ratio in settings.train_ratio:
            split, train = self._split(ratio, settings.seed), f"train_{ratio}"
            parts = self._hashes[ratio, settings.seed] = split.hashes(images.ids)
            splits |= {"val": parts["val"], "test": parts["test"], train: parts["train"]}
            sizes |= {"val": len(split.val), "test": len(split.test), train: len(split.train)}
        return {
            "settings": settings.model_dump(mode="json")
            | {"tracking_uri": without_credentials(settings.tracking_uri)},
            "data": {
                "name": images.name,
                "key": images.key,
                "content": images.content,
                "images": len(images.labels),
                "image_size": images.image_size,
                "classes": dict(zip(images.classes, counts, strict=True)),
                "scales": {depth: [*levels] for depth, levels in images.scales.items()},
                "skipped": [f"{name}: {reason}" for name, reason in images.bad],
                "copies": COPIES_FORMAT,
                "ratio_base": images.sizes.base,
                "largest_ratio": images.rules.largest_ratio,
                "groups_by": images.rules.by or None,
                "aux": images.aux.about(),
                "notes": [*images.notes, *balance],
            },
            "splits": splits,
            "split_sizes": sizes,
            "val_classes": np.bincount(images.labels[split.val]).tolist(),
            "versions": {"python": platform.python_version()} | {n: version(n) for n in _VERSIONS},
            "hardware": hardware(),
        }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
