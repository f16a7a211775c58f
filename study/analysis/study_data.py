"""What a study's folder holds, read for its report."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from study.analysis.estimates import Confirmed
from study.config.reproduce import settings_of
from study.config.settings import Settings
from study.records.ledger import read_records
from study.records.trial_record import TrialRecord, best_of
from study.search.confirmation import still_planned
from tl_core.config import Metric, TrialConfig
from tl_core.inference.model_card import CARD


@dataclass(frozen=True)
class StudyData:
    """A study that is over, or was stopped."""

    folder: Path
    study: dict[str, Any]
    """What study.json says."""
    records: list[TrialRecord]

    @cached_property
    def settings(self) -> Settings:
        """What the study was asked for."""
        return settings_of(self.study)

    @cached_property
    def search(self) -> list[TrialRecord]:
        """The trials of the search, which read no test set."""
        return [r for r in self.records if r.kind == "search"]

    @cached_property
    def confirmed(self) -> list[Confirmed]:
        """What the confirming trials scored on the test set; none if confirming was skipped."""
        return confirmed_of(still_planned(self.settings, self.records), self.search)

    @cached_property
    def winner(self) -> TrialRecord | None:
        """The best trial of the search."""
        return best_of(self.search, self.settings.metric)

    @cached_property
    def model(self) -> Path | None:
        """The folder of the winner's weights; None if those of this winner were not kept."""
        folder = self.folder / "winner"
        if self.winner is None or not (folder / CARD).is_file():
            return None
        kept = TrialConfig(**json.loads((folder / CARD).read_text())["config"])
        same = {"seed": 0, "seeds": 1}  # It was trained on a fresh seed.
        ours = self.winner.config
        return folder if kept.model_copy(update=same) == ours.model_copy(update=same) else None

    @property
    def images(self) -> int:
        """Size of the whole data set."""
        return int(self.study["data"]["images"])

    @property
    def data(self) -> str:
        """Short name of the data set."""
        return Path(self.study["data"]["name"]).name

    @property
    def subject(self) -> str:
        """Backbone and data, which every figure names."""
        return f"{self.settings.backbone} on {self.data}"

    @property
    def classification(self) -> Metric:
        """The metric of the search, or log loss if that is not of the classification alone."""
        metric = self.settings.metric
        return metric if metric in ("val_accuracy", "val_auroc") else "val_log_loss"

    @property
    def test_scores(self) -> tuple[str, str]:
        """Accuracy, and the score on the test set that the search went by on validation."""
        metric = self.settings.metric
        # `test_loss` weighs the tasks by each cell's own aux_weight, so cells don't compare.
        other = "val_log_loss" if metric in ("val_accuracy", "val_loss") else metric
        return "test_accuracy", other.replace("val_", "test_")


def read_study_data(folder: Path) -> StudyData:
    """Read study.json and the ledger.

    Raises `FileNotFoundError` if one of them is not there.
    """
    study = json.loads((folder / "study.json").read_text())
    return StudyData(folder, study, read_records(folder))


def confirmed_of(records: Iterable[TrialRecord], search: Iterable[TrialRecord]) -> list[Confirmed]:
    """Return what confirming trials found, as the statistics take it.

    A winner that was only trained once more, for its weights, confirms nothing.
    """
    by_number = {r.trial: r for r in search}
    return [
        _confirmed(r, by_number[r.source])
        for r in records
        if r.kind in ("confirm", "control") and r.source is not None
    ]


def _confirmed(record: TrialRecord, source: TrialRecord) -> Confirmed:
    c, ratio = record.config, source.config.train_ratio
    return Confirmed(
        mode=c.mode,
        train_ratio=c.train_ratio,
        seed=c.seed,
        scores=record.test,
        trial=record.trial,
        source=source.trial,
        borrowed_from=ratio if ratio != c.train_ratio else None,
        aux_weight=c.aux_weight,
        lr=c.lr,
        arm="control" if record.kind == "control" else "cell",
    )
