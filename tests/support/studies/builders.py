"""Records and settings made by hand, so that a test states only what it is about."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from study.analysis.estimates import Arm, Confirmed
from study.config.settings import Settings
from study.config.validate import resolve
from study.records.ledger import StudyState
from study.records.trial_record import Kind, Status, TrialRecord
from study.tracking.writer import EXPERIMENT, MlflowWriter
from tl_core.config import EpochMetrics, Mode, TrialConfig


def make_epoch(epoch: int = 1, **given: float) -> EpochMetrics:
    """One epoch; every value that is not given is easy to tell from the others."""
    values = {
        "train_loss": 0.5,
        "train_accuracy": 0.75,
        "val_loss": 0.625,
        "val_log_loss": 0.25,
        "val_accuracy": 0.875,
        "val_auroc": 0.9375,
        "val_brightness_mae": 0.125,
        "val_brightness_r2": -0.5,
        "images_per_s": 1000.0,
    }
    return EpochMetrics(epoch=epoch, **(values | given))


def make_config(**given: Any) -> TrialConfig:
    """A configuration of a frozen trial, two epochs long."""
    values: dict[str, Any] = {"mode": "freeze", "train_ratio": 0.1, "lr": 1e-3, "epochs": 2}
    return TrialConfig(**(values | given))


def make_record(
    trial: int = 0,
    status: Status = "done",
    log_losses: tuple[float, ...] = (0.5, 0.25),
    error: str | None = None,
    **factors: Any,
) -> TrialRecord:
    """A trial with one epoch for each of `log_losses`."""
    history = [make_epoch(i, val_log_loss=loss) for i, loss in enumerate(log_losses, start=1)]
    return TrialRecord(trial, make_config(**factors), status, history, error=error)


def make_confirmed(
    mode: Mode,
    train_ratio: float,
    accuracies: Sequence[float],
    arm: Arm = "cell",
    seeds: Sequence[int] | None = None,
    **scores: float,
) -> list[Confirmed]:
    """Confirming trials of one cell, a seed for each accuracy; log loss is 1 - accuracy."""
    others = {"test_auroc": 0.5, "test_brightness_mae": 0.1, "test_brightness_r2": 0.5}
    return [
        Confirmed(
            mode=mode,
            train_ratio=train_ratio,
            seed=seed,
            scores={"test_accuracy": accuracy, "test_log_loss": 1 - accuracy, "test_loss": 0.25}
            | others
            | scores,
            trial=100 + i,
            source=0,
            borrowed_from=None,
            aux_weight=0.0 if arm == "control" else 0.5,
            lr=1e-3,
            arm=arm,
        )
        for i, (seed, accuracy) in enumerate(
            zip(seeds or range(len(accuracies)), accuracies, strict=True)
        )
    ]


def all_runs(client: MlflowClient) -> list[Run]:
    """Every run of the studies in a store: parents first, then trials by number."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs: list[Run] = client.search_runs([experiment.experiment_id])
    return sorted(runs, key=lambda run: int(run.data.params.get("trial", -1)))


def make_settings(**given: Any) -> Settings:
    """Settings as `prepare` would leave them; there must be no fault."""
    settings, faults = resolve({"precision": "fp32"} | given)
    assert faults == []
    return settings


class Teller:
    """Tells a tracker of events, as a delivery does."""

    def __init__(self, tracker: MlflowWriter, study_id: str = "0123") -> None:
        self.at = 1.5
        self._id = study_id
        self._tracker = tracker
        self._state = StudyState()
        self.flush = tracker.flush

    def study(self, debug: bool = False, again: bool = False) -> None:
        settings = {"backbone": "mlp", "debug": debug, "metric": "val_log_loss", "lr": [1e-3]}
        about = {
            "id": self._id,
            "settings": settings | {"name": None, "aux_weight": [0.0]},
            "data": {"images": 40, "classes": {"a=b: ?": 20, "c": 20}},
            "splits": {"val": "abc", "train_0.1": "def"},
        }
        self._tell(event="study", name="mine", about=about, again=again)

    def start(
        self,
        trial: int,
        config: TrialConfig,
        kind: Kind = "search",
        source: int | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        fixed = {"config": config.model_dump(), "kind": kind, "source": source, "draw": trial}
        self._tell(event="start", trial=trial, **fixed, about=about or {})

    def epoch(self, trial: int, metrics: EpochMetrics) -> None:
        self._tell(event="epoch", trial=trial, metrics=asdict(metrics))

    def end(
        self,
        trial: int,
        status: Status,
        error: str | None = None,
        test: dict[str, float] | None = None,
        wall_s: float = 1.0,
        model: Path | None = None,
    ) -> None:
        told: dict[str, Any] = {
            "status": status,
            "error": error,
            "test": test or {},
            "wall_s": wall_s,
        }
        told |= {"test": test or {}, "files": [], "model": str(model) if model else None}
        self._tell(event="end", trial=trial, **told)

    def close(self, status: str, files: list[Path]) -> None:
        self._tell(event="close", status=status, files=[str(file) for file in files])

    def _tell(self, **event: Any) -> None:
        event["at"] = self.at
        self._state.add(event)
        self._tracker.tell(event, self._state)
