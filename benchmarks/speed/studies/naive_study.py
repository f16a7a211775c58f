"""The naive Ray Tune study: a process a trial, Ray's defaults, Ray's own MLflow callback."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from mlflow import MlflowClient
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback

from benchmarks.speed.studies.naive import train_naively
from study.cluster.local_ray import local_ray
from tl_core.config import EpochMetrics, TrialConfig

_EXPERIMENT = "naive"


@dataclass(frozen=True)
class NaiveStudy:
    """What it cost, and what each of its trials said in every epoch."""

    start_s: float
    """Ray, and the tables of a new tracking store."""
    fit_s: float
    """From the first trial's process to the end of the last one."""
    histories: list[list[EpochMetrics]]
    """In the order of the configurations."""

    def wall_s(self, trials: int) -> float:
        """Seconds for so many trials, if each costs what the measured ones did."""
        return self.start_s + self.fit_s / len(self.histories) * trials


def run_naive_study(configs: list[TrialConfig], root: Path, folder: Path, gpus: int) -> NaiveStudy:
    """Run the configurations on the images below `root`; `folder` gets all that is written."""
    start = time.perf_counter()
    listener = _Listener(len(configs))
    with local_ray(gpus):
        tracking = _track(folder)
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_trial, root=root), {"CPU": 1, "GPU": 1 if gpus else 0}
            ),
            param_space={"trial": tune.grid_search(_points(configs))},
            run_config=tune.RunConfig(
                name="naive",
                storage_path=str(folder.resolve()),
                callbacks=[listener, tracking],
                verbose=0,
            ),
        )
        ready = time.perf_counter()
        results = tuner.fit()
        end = time.perf_counter()
    if results.num_errors:
        raise RuntimeError(f"{results.num_errors} naive trials failed: {results.errors[0]}")
    if any(len(h) < c.epochs for h, c in zip(listener.histories, configs, strict=True)):
        raise KeyboardInterrupt  # Ray Tune has swallowed the one that there was.
    return NaiveStudy(ready - start, end - ready, listener.histories)


def _points(configs: list[TrialConfig]) -> list[dict[str, Any]]:
    return [{"number": i, **config.model_dump()} for i, config in enumerate(configs)]


def _track(folder: Path) -> MLflowLoggerCallback:
    uri = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
    # Made here: a new database takes seconds, which are no cost of a trial.
    MlflowClient(uri).create_experiment(_EXPERIMENT, (folder / "mlruns").resolve().as_uri())
    return MLflowLoggerCallback(tracking_uri=uri, experiment_name=_EXPERIMENT)


def _trial(drawn: dict[str, Any], root: Path) -> None:
    values = dict(drawn["trial"])
    values.pop("number")
    device = torch.device("cuda" if ray.get_gpu_ids() else "cpu")
    train_naively(TrialConfig(**values), root, device, lambda m: tune.report(asdict(m)))


class _Listener(tune.Callback):
    """Keeps what the trials report."""

    def __init__(self, n: int) -> None:
        self.histories: list[list[EpochMetrics]] = [[] for _ in range(n)]

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray saves its callbacks with the experiment.

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Called after each epoch."""
        metrics = {name: result[name] for name in EpochMetrics.__dataclass_fields__}
        self.histories[trial.config["trial"]["number"]].append(EpochMetrics(**metrics))
