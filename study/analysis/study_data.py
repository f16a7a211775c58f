"""The content of a study's folder, read for its report."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.analysis.estimates import CellSummary, Confirmed
from study.analysis.findings import Findings
from study.analysis.images.image_scores import ImageScores, score_images
from study.config.defaults import TRIALS_PER_CELL
from study.config.settings import Settings
from study.records.ledger import read_records
from study.records.outputs import read_outputs, read_targets
from study.records.stored_settings import found_in, settings_of
from study.records.study_folder import STUDY, WINNER, from_here
from study.records.trial_record import TrialRecord, tried
from study.search.cells import Cell
from study.search.choosing import Choices, on_seed
from study.search.confirmation import still_planned
from tl_core.config import Metric, TrialConfig
from tl_core.data.splits import HELD_OUT
from tl_core.inference.model_card import CARD
from tl_core.runtime import one_thread


@dataclass(frozen=True)
class StudyData:
    """A study that has ended or was stopped."""

    folder: Path
    study: dict[str, Any]
    """The content of study.json."""
    records: list[TrialRecord]

    @cached_property
    def settings(self) -> Settings:
        """The study's settings, with its place as it is now."""
        return found_in(settings_of(self.study), self.place)

    @cached_property
    def place(self) -> Path:
        """The folder as commands name it: as it was asked for, unless it was moved."""
        asked = settings_of(self.study)
        folder = asked.out / str(asked.name)
        return folder if folder.resolve() == self.folder.resolve() else from_here(self.folder)

    @cached_property
    def search(self) -> list[TrialRecord]:
        """The trials of the search; they do not read the test set."""
        return [r for r in self.records if r.kind == "search"]

    @cached_property
    def confirmed(self) -> list[Confirmed]:
        """The test scores of the confirming trials; empty if the study did not confirm."""
        records = still_planned(self.settings, self.records)
        return confirmed_of(records, self.records, self._scored(records))

    @cached_property
    def findings(self) -> Findings:
        """What the confirming trials tell."""
        return Findings(self.confirmed, self.labels)

    @property
    def cells(self) -> list[CellSummary]:
        """The confirmed cells, each with its scores over seeds."""
        return self.findings.cells

    @cached_property
    def winning_cell(self) -> CellSummary | None:
        """The cell that the study recommends; None if no cell is confirmed."""
        best = self.ranking[0] if self.ranking else None
        return next((cell for cell in self.cells if cell.cell == best), None)

    def _scored(self, records: Iterable[TrialRecord]) -> dict[int, ImageScores]:
        """The score of every test image in the trials whose outputs are there."""
        task = self.settings.task
        if (targets := read_targets(self.folder, self.study.get("targets", ""), task)) is None:
            return {}
        hashes = {r.trial: r.outputs for r in records if r.outputs}
        named = bool(self.study["data"].get("groups_by"))
        found = {}
        with one_thread():  # On few images threads mostly wait for each other.
            for trial, sha256 in hashes.items():  # One by one: together they may fill the memory.
                if outputs := read_outputs(self.folder, trial, sha256, task):
                    found[trial] = score_images(outputs, targets, named, task)
        return found

    @cached_property
    def choices(self) -> Choices:
        """What the records choose."""
        return Choices(self.settings, self.records)

    @cached_property
    def ranking(self) -> list[Cell]:
        """The confirmed cells, the winner first; empty if nothing is confirmed."""
        return self.choices.ranking

    @property
    def winner(self) -> TrialRecord | None:
        """The trial with the winner's numbers: on its first fresh seed, or in the search."""
        return self.choices.winning

    @cached_property
    def model(self) -> Path | None:
        """The folder of the winner's weights; None if this winner's weights were not kept."""
        folder = self.folder / WINNER
        if self.winner is None or not (folder / CARD).is_file():
            return None
        kept = TrialConfig(**json.loads((folder / CARD).read_text(encoding="utf-8"))["config"])
        # A study without confirmation keeps one of the seeds of the search.
        return folder if on_seed(0, kept) == on_seed(0, self.winner.config) else None

    @property
    def images(self) -> int:
        """Size of the whole data set."""
        return int(self.study["data"]["images"])

    @property
    def classes(self) -> dict[str, int]:
        """The number of images of each class, in the order of the labels."""
        classes: dict[str, int] = self.study["data"]["classes"]
        return classes

    @property
    def ratio_base(self) -> int:
        """Images that train ratios are shares of; studies of earlier versions had no other."""
        return int(self.study["data"].get("ratio_base", self.images))

    @property
    def largest_ratio(self) -> float:
        """The ratio at which training takes all images that are not held out."""
        return float(self.study["data"].get("largest_ratio", 1 - 2 * HELD_OUT))

    @cached_property
    def is_split(self) -> bool:
        """Whether a training part was given, of which train ratios are shares."""
        return self.largest_ratio > 1 - 2 * HELD_OUT + 1e-9

    def split_sizes(self, train_ratio: float) -> tuple[int, int]:
        """Images of training and of validation.

        Studies of earlier versions did not record them: then as if no part was given.
        """
        sizes = self.study.get("split_sizes", {})
        n_train, n_val = (round(share * self.ratio_base) for share in (train_ratio, HELD_OUT))
        return sizes.get(f"train_{train_ratio}", n_train), sizes.get("val", n_val)

    def labels(self, train_ratio: float) -> float:
        """Images that the confirming trials train on, the mean over their seeds.

        Where whole groups train, seeds differ; earlier versions recorded those of one alone.
        """
        means: dict[str, float] = self.study.get("mean_train_sizes", {})
        return means.get(f"train_{train_ratio}", self.split_sizes(train_ratio)[0])

    def taught_elsewhere(self, n_train: int) -> int:
        """About how many images teach the auxiliary task with `--aux-on all` beside `n_train`.

        They are those of the rest of the training part that have its label.
        """
        known = int(self.study["data"].get("aux", {}).get("images", self.images))
        rest = max(0, round(self.largest_ratio * self.ratio_base) - n_train)
        return round(rest * known / self.images)

    @property
    def dataset(self) -> str:
        """Short name of the data set."""
        return Path(self.study["data"]["name"]).name

    @property
    def subject(self) -> str:
        """Backbone and data set, for the title of every figure."""
        return f"{self.settings.backbone} on {self.dataset}"

    @property
    def classification(self) -> Metric:
        """The metric of the search if it scores the classification alone, else log loss."""
        return of_classification(self.settings.metric)


def asked_score(metric: Metric) -> str | None:
    """Return the test score that decides beside accuracy, as users have asked for its metric.

    None for accuracy itself, for the log loss of the default, and for the loss of both tasks: it
    depends on each cell's own aux_weight, so cells are not comparable by it.
    """
    asked = metric not in ("val_accuracy", "val_log_loss", "val_loss")
    return metric.replace("val_", "test_") if asked else None


def of_classification(metric: Metric) -> Metric:
    """Return the metric if it scores the classification alone, else log loss."""
    both = ("val_loss", "val_brightness_mae", "val_brightness_r2")
    return "val_log_loss" if metric in both else metric


def read_study_data(folder: Path) -> StudyData:
    """Read study.json and the ledger.

    Raises `FileNotFoundError` if one of them is missing.
    """
    study = json.loads((folder / STUDY).read_text(encoding="utf-8"))
    return StudyData(folder, study, read_records(folder))


def confirmed_of(
    records: Iterable[TrialRecord],
    history: Sequence[TrialRecord],
    images: Mapping[int, ImageScores] = MappingProxyType({}),
) -> list[Confirmed]:
    """Return the results of the confirming trials, in the form that the statistics need.

    `history` is the whole study's. `images` are the scores of each test image, by trial. A winner
    that was trained again only for its weights confirms nothing.
    """
    searched = [r for r in history if r.kind == "search"]
    ratios = {r.trial: r.config.train_ratio for r in searched}
    cells = Counter(Cell.of(r.config) for r in searched if tried([r]))
    candidates = Counter(
        (Cell.of(config), config.aux_weight)
        for config in {on_seed(0, r.config) for r in history if r.kind == "repeat"}
    )
    return [
        Confirmed(
            mode=r.config.mode,
            train_ratio=r.config.train_ratio,
            seed=r.config.seed,
            scores=r.test | (images[r.trial].scores if r.trial in images else {}),
            trial=r.trial,
            source=r.source,
            borrowed_from=None if r.config.train_ratio == ratios[r.source] else ratios[r.source],
            aux_weight=r.config.aux_weight,
            lr=r.config.lr,
            trials=cells[Cell.of(r.config)],
            tuned=candidates[Cell.of(r.config), r.config.aux_weight] > 1
            and cells[Cell.of(r.config)] >= TRIALS_PER_CELL,
            arm="control" if r.kind == "control" else "cell",
            images=images.get(r.trial),
        )
        for r in records
        if r.kind in ("confirm", "control") and r.source is not None
    ]
