"""Records, settings and ledgers with defaults, so that a test states only what matters to it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from study.analysis.estimates import Arm, Confirmed
from study.config.defaults import DEFAULTS
from study.config.settings import Settings
from study.config.validate import resolve
from study.records.ledger import Ledger, StudyState, read_events
from study.records.study_folder import STUDY
from study.records.trial_record import Status, TrialRecord
from study.search.short_sweeps import Shape
from study.tracking.sender import NullSender
from study.tracking.writer import MlflowWriter
from tl_core.config import EpochMetrics, Mode, TrialConfig
from tl_core.data.splitting.rules import NO_RULES


def make_epoch(epoch: int = 1, **given: float | None) -> EpochMetrics:
    """One epoch; the default values differ from each other."""
    values: dict[str, Any] = {
        "train_loss": 0.5, "train_accuracy": 0.75, "val_loss": 0.625, "val_log_loss": 0.25,
        "val_accuracy": 0.875, "val_auroc": 0.9375, "val_brightness_mae": 0.125,
        "val_brightness_r2": -0.5, "images_per_s": 1000.0,
        "val_balanced_accuracy": 0.8125, "val_macro_f1": 0.78125,
    }  # fmt: skip
    return EpochMetrics.read({"epoch": epoch, **values, **given})


def make_config(**given: Any) -> TrialConfig:
    """A configuration of a frozen trial, two epochs long; a probe is solved, without a rate."""
    values: dict[str, Any] = {"mode": "freeze", "train_ratio": 0.1, "lr": 1e-3, "epochs": 2}
    if given.get("mode") == "probe":
        values |= {"lr": None, "epochs": 1}
    return TrialConfig(**(values | given))


def plain_shape(n: int, classes: int, features: int) -> Shape:
    """The size of a data set of `n` images of which no parts are given."""
    return Shape(NO_RULES.sizes(n), classes, features)


def make_record(
    trial: int = 0, status: Status = "done", log_losses: tuple[float, ...] = (0.5, 0.25),
    error: str | None = None, **factors: Any,
) -> TrialRecord:  # fmt: skip
    """A trial with one epoch for each of `log_losses`."""
    history = [make_epoch(i, val_log_loss=loss) for i, loss in enumerate(log_losses, start=1)]
    return TrialRecord(trial, make_config(**factors), status, history, error=error)


def make_confirmed(
    mode: Mode, train_ratio: float, accuracies: Sequence[float], arm: Arm = "cell",
    seeds: Sequence[int] | None = None, **scores: float,
) -> list[Confirmed]:  # fmt: skip
    """Confirming trials of one cell, one seed for each accuracy; log loss is 1 - accuracy."""
    scores = {"test_auroc": 0.5, "test_brightness_mae": 0.1, "test_brightness_r2": 0.5} | scores
    weight = 0.0 if arm == "control" else 0.5
    return [
        Confirmed(
            mode=mode, train_ratio=train_ratio, seed=seed, trial=100 + i, source=0,
            borrowed_from=None, aux_weight=weight, lr=1e-3, arm=arm, trials=8,
            scores={"test_accuracy": x, "test_log_loss": 1 - x, "test_loss": 0.25} | scores,
        )
        for i, (seed, x) in enumerate(
            zip(seeds or range(len(accuracies)), accuracies, strict=True)
        )
    ]  # fmt: skip


def all_runs(client: MlflowClient) -> list[Run]:
    """Every run of the studies in a store: parents first, then trials by number."""
    experiment = client.get_experiment_by_name(DEFAULTS["experiment"])
    assert experiment is not None
    runs: list[Run] = client.search_runs([experiment.experiment_id])
    return sorted(runs, key=lambda run: int(run.data.params.get("trial", -1)))


def make_settings(**given: Any) -> Settings:
    """Resolved settings without a fault."""
    settings, faults = resolve({"precision": "fp32"} | given)
    assert faults == []
    return settings


def make_about(**settings: Any) -> dict[str, Any]:
    """The part of a study.json that MLflow's writer reads."""
    given = {"experiment": "tl-study", "debug": False, "metric": "val_log_loss"}
    settings = given | {"mode": ["freeze"], "aux_weight": [0.0]} | settings
    return {"id": "0123", "settings": settings, "data": {"classes": {"cat": 1}}}


def write_record(ledger: Ledger, record: TrialRecord, ended: bool = True) -> None:
    """Write the events of a trial, its end among them if `ended`."""
    ledger.start(record, {})
    for epoch in record.history:
        ledger.epoch(record.trial, epoch)
    if ended:
        ledger.end(record, [])


def write_study(
    folder: Path, uri: str = "", trials: int = 2, ended: bool = True, **settings: Any
) -> Ledger:
    """A study that ran with --offline; `ended` is whether its last trial and it have ended."""
    folder.mkdir(parents=True)
    about = make_about(tracking_uri=uri, **settings)
    (folder / STUDY).write_text(json.dumps(about))
    NullSender(uri).follow(folder)
    ledger = Ledger(folder)
    ledger.study("mine", about)
    for trial in range(trials):
        record = make_record(trial, log_losses=(0.5 + trial,))
        write_record(ledger, record, ended=ended or trial < trials - 1)
    if ended:
        ledger.close("done", [])
    return ledger


class WrittenLedger(Ledger):
    """A ledger, and the writer that takes its events."""

    def __init__(self, folder: Path, writer: MlflowWriter) -> None:
        super().__init__(folder)
        self.writer = writer
        self._state, self._offset = StudyState(), 0

    def rewind(self, writer: MlflowWriter) -> None:
        """Have all events written again."""
        self.writer, self._state, self._offset = writer, StudyState(), 0

    def flush(self) -> None:
        """Write the new events, and send them."""
        for event, offset in read_events(self.path, self._offset):
            self._state.add(event)
            self.writer.write(event, self._state)
            self._offset = offset
        self.writer.flush()
