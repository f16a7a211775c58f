"""Folders of studies that were never run, with drawn numbers that behave like real ones."""

import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from study.config.settings import Settings
from study.records.ledger import Ledger
from study.records.study_folder import STUDY, WINNER
from study.records.trial_record import Status, TrialRecord
from study.reporting.figures.factor_plots import aux_position
from study.search.choosing import Choices
from study.search.confirmation import plan
from study.search.space import LR_RANGES
from tests.support.studies.builders import make_config, make_epoch, make_settings, write_record
from tl_core.config import FROZEN, MODES, Mode
from tl_core.inference.model_card import CARD

LEVELS: dict[Mode, tuple[float, float]] = {
    "freeze": (0.08, 0.6), "probe": (0.07, 0.6), "partial": (0.05, 0.7), "finetune": (0.05, 0.9),
    "lp_ft": (0.045, 0.7), "scratch": (0.35, 0.28),
}  # fmt: skip
"""Log loss at ratio 0.8, and the power of the ratio that it falls with."""
TEST_IMAGES = 240


@dataclass
class Synthetic:
    """The parameters of a study's folder."""

    settings: Settings
    classes: tuple[str, ...] = ("cat", "dog")
    confirm_seeds: int = 5
    """0: interrupted before the confirmation."""
    troubles: bool = True
    """Whether some trials fail and some are stopped early."""

    def __post_init__(self) -> None:
        update = {"confirm_seeds": self.confirm_seeds} if self.confirm_seeds else {}
        self.settings = self.settings.model_copy(update=update)

    def write(self, folder: Path) -> Path:
        """Make the folder, with a winner if the study was confirmed."""
        folder.mkdir(parents=True)
        self.rng = np.random.default_rng(0)
        records = self.records()
        about = self.about(records)
        (folder / STUDY).write_text(json.dumps(about))
        ledger = Ledger(folder)
        ledger.study(str(self.settings.name), about)
        for record in records:
            write_record(ledger, record)
        ledger.close(about["status"], [])
        if self.confirm_seeds:
            self.write_winner(folder / WINNER, records)
        return folder

    def about(self, records: list[TrialRecord]) -> dict[str, Any]:
        """The content of study.json."""
        ratios = self.settings.train_ratio
        return {
            "id": "0123",
            "settings": self.settings.model_dump(mode="json"),
            "data": {
                "name": f"/data/{self.settings.data}", "key": "5f2c8a17d0", "images": 2400,
                "image_size": self.settings.image_size, "skipped": [],
                "classes": dict.fromkeys(self.classes, 2400 // len(self.classes)),
            },
            "splits": {"val": "a1b2c3", "test": "d4e5f6"} | {f"train_{r}": "0a1b" for r in ratios},
            "versions": {"python": "3.11.2", "torch": "2.11.0", "ray": "2.60.0", "optuna": "5.0.0"},
            "hardware": {"machine": "x86_64", "cpus": 8, "gpus": ["NVIDIA H100 80GB HBM3"]},
            "started": "2026-01-02T10:00:00+0000", "ended": "2026-01-02T10:42:00+0000",
            "status": "done" if self.confirm_seeds else "interrupted",
            "trials": {"done": len(records)},
        }  # fmt: skip

    def records(self) -> list[TrialRecord]:
        """The trials of the search, then the confirming ones."""
        records = [self._searched(number) for number in range(self.settings.trials)]
        while stage := plan(self.settings, records) if self.confirm_seeds else []:
            for planned in stage:
                record = TrialRecord(len(records), planned.config, "done", kind=planned.kind)
                record.source = planned.source
                records.append(self._followed(record, records))
        return records

    def _followed(self, record: TrialRecord, before: list[TrialRecord]) -> TrialRecord:
        """Give a trial after the search its numbers; the winner repeats those of its seed."""
        if record.kind == "winner":
            (same,) = (r for r in before if (r.kind, r.config) == ("confirm", record.config))
            return replace(record, history=same.history, test=same.test, wall_s=same.wall_s)
        self._trained(record)
        return record if record.kind == "repeat" else self._confirmed(record)

    def _searched(self, number: int) -> TrialRecord:
        s, rng = self.settings, self.rng
        cells = list(itertools.product(s.mode, s.train_ratio))
        mode, ratio = cells[number] if number < len(cells) else cells[rng.integers(len(cells))]
        config = make_config(
            mode=mode, train_ratio=ratio, backbone=s.backbone,
            seeds=s.seeds if mode in FROZEN else 1, **self._factors(mode),
        )  # fmt: skip
        status: Status = "done"
        if self.troubles and number % 9 == 8:
            status = "failed" if number % 2 else "pruned"
        return self._trained(TrialRecord(number, config, status))

    def _factors(self, mode: Mode) -> dict[str, Any]:
        s, rng = self.settings, self.rng
        if mode == "probe":
            return {"lr": None, "epochs": 1}
        weight = float(rng.uniform(0, 0.9)) if len(s.aux_weight) > 1 else s.aux_weight[0]
        rate = float(np.exp(rng.uniform(*np.log(LR_RANGES[mode]))))
        return {"lr": rate, "aux_weight": weight, "epochs": s.epochs}

    def _trained(self, record: TrialRecord) -> TrialRecord:
        """Add epochs whose log loss falls to its final value."""
        total, final = record.config.epochs, self._log_loss(record)
        epochs = {"done": total, "pruned": max(1, total // 3)}.get(record.status, 0)
        for epoch in range(1, epochs + 1):
            loss = final + (0.7 - final) * float(np.exp(-4 * epoch / total)) * 0.8
            error = 0.1 * (1 - aux_position(record)) ** 2 * self.rng.uniform(0.6, 1)
            record.history.append(make_epoch(
                epoch, train_loss=0.8 * loss, train_accuracy=1 - 0.33 * loss, val_log_loss=loss,
                val_loss=loss, val_accuracy=min(1 - 0.4 * loss, 1.0),
                val_brightness_mae=0.02 + error, step=None if record.config.lr is None else epoch,
                l2=0.03 if record.config.lr is None else None,
            ))  # fmt: skip
        record.wall_s = float(self.rng.uniform(1, 60))
        if record.status == "failed":
            record.error = "DivergedError: val_loss is nan in epoch 3"
        return record

    def _log_loss(self, record: TrialRecord) -> float:
        c = record.config
        level, power = LEVELS[c.mode]
        distance = 0.0  # From the best learning rate.
        if c.lr is not None:
            low, high = np.log(LR_RANGES[c.mode])
            distance = (np.log(c.lr) - low) / (high - low) - 0.55
        loss = level * (0.8 / c.train_ratio) ** power * np.exp(5 * distance**2)
        loss *= 1 + 0.2 * aux_position(record) ** 2
        return float(min(loss * np.exp(self.rng.normal(0, 0.08)), 1.5))

    def _confirmed(self, record: TrialRecord) -> TrialRecord:
        last = record.history[-1]
        loss = last.val_log_loss * float(np.exp(self.rng.normal(0, 0.1)))
        record.test = {
            "test_accuracy": round((1 - 0.38 * min(loss, 1.3)) * TEST_IMAGES) / TEST_IMAGES,
            "test_log_loss": loss, "test_auroc": 1 - 0.2 * min(loss, 1.3), "test_loss": loss,
            "test_brightness_mae": last.aux["val_brightness_mae"], "test_brightness_r2": 0.5,
        }  # fmt: skip
        return record

    def write_winner(self, folder: Path, records: list[TrialRecord]) -> None:
        """Write a model.json, predictions, and pictures of the most confident errors."""
        (folder / "mistakes").mkdir(parents=True)
        winner = Choices(self.settings, records).winner
        assert winner
        config = winner.model_dump()
        (folder / CARD).write_text(json.dumps({"classes": self.classes, "config": config}))
        k, rng = len(self.classes), self.rng
        labels = np.arange(max(TEST_IMAGES, 2 * k)) % k
        logits = rng.normal(0, 1.6, (len(labels), k))
        logits[np.arange(len(labels)), labels] += 3.2 + np.log(k)
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        names = np.array(self.classes)
        columns = {
            "image": [f"{names[label]}/{i:04d}.jpg" for i, label in enumerate(labels)],
            "label": names[labels], "predicted": names[probabilities.argmax(axis=1)],
            "split": "test", "brightness": rng.uniform(0.2, 0.8, len(labels)),
            "predicted_brightness": np.nan,
        }  # fmt: skip
        table = pd.DataFrame(columns | {f"p_{j}": probabilities[:, j] for j in range(k)})
        wrong = table.index[table["label"] != table["predicted"]]
        table["mistake"] = ""
        confident = sorted(wrong, key=lambda i: -probabilities[i].max())[:12]
        for number, i in enumerate(confident, start=1):
            table.loc[i, "mistake"] = f"mistakes/{number:02d}.jpg"
            picture = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
            picture.resize((128, 128)).save(folder / f"mistakes/{number:02d}.jpg")
        table.to_csv(folder / "predictions.csv", index=False)


def large_study(name: str = "cat_dog-large", **given: Any) -> Synthetic:
    """All modes at five ratios, 60 trials."""
    default = {"name": name, "data": "cat_dog", "backbone": "efficientnet_lite0", "mode": MODES}
    return Synthetic(make_settings(**(default | {"trials": "60"} | given)))


def tiny_study(name: str = "tiny", **given: Any) -> Synthetic:
    """One mode at one ratio, three trials."""
    default = {"mode": ["finetune"], "train_ratio": ["0.1"], "trials": "3", "epochs": "2"}
    return Synthetic(make_settings(**(default | {"name": name} | given)), troubles=False)
