"""The two studies that rows compare: ours as users run it, and the naive Ray Tune study.

The naive one has a process a trial, Ray's defaults, and Ray's own MLflow callback.
"""

import io
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from mlflow import MlflowClient
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from rich.console import Console

from benchmarks.common import seconds
from benchmarks.speed.bench import RATIO, Bench
from benchmarks.speed.harness import Gate
from benchmarks.speed.naive import train_naively
from study.cluster.local_ray import local_ray
from study.config.program import spelled
from study.execution.run_study import EXIT_CODES, open_journal, run_study
from study.execution.search import search
from study.execution.tune import Run
from study.preflight.prepare import Prepared, prepare_new
from study.records.ledger import read_records
from study.records.trial_record import ENDED, TrialRecord
from study.tracking.sender import NullSender, make_sender
from study.trials.features import with_features
from study.trials.trial_context import make_context
from tl_core.config import EpochMetrics, TrialConfig
from tl_core.device import CPU, find_device
from tl_core.runtime import rarely_collecting

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class OurStudy:
    """What a study cost, and the trials of its search."""

    wall_s: float
    """From reading the settings to the last file written."""
    trials: int  # As many as were asked for.
    records: list[TrialRecord]

    @property
    def ends(self) -> list[float]:
        """When the trials ended, in order, seconds since 1970."""
        return sorted(r.started_at + r.wall_s for r in self.records)

    @property
    def start(self) -> float:
        """When the first trial started."""
        return min(r.started_at for r in self.records)

    @property
    def searching_s(self) -> float:
        """From the start of the first trial to the end of the last."""
        return self.ends[-1] - self.start


def settings_of(bench: Bench, cache: Path, trials: int, **changes: Any) -> dict[str, Any]:
    """The settings of a row's study, as given on a command line."""
    home = bench.fresh("study")
    return {
        "data": str(bench.folder),
        "backbone": bench.backbone_name,
        "image_size": bench.image_size,
        "mode": ("freeze",),
        "train_ratio": (RATIO,),
        "epochs": bench.pick(5, 2),
        "trials": trials,
        "confirm": False,
        "cache": cache,
        "out": home,
        "name": "ours",
        "tracking_uri": f"sqlite:///{home / 'mlflow.db'}",
    } | changes


def run_ours(given: dict[str, Any], replace: dict[str, Any] | None = None) -> OurStudy:
    """Prepare and run a study; `replace` holds fields of `Prepared` to change in between."""
    start = time.perf_counter()
    with rarely_collecting():  # As `study/run.py` does.
        prepared = Prepared(**(vars(prepare_new(given)) | (replace or {})))
    code = run_study(prepared, Console(file=io.StringIO()), make_sender(prepared.settings))
    wall_s = time.perf_counter() - start
    if code == EXIT_CODES["interrupted"]:
        raise KeyboardInterrupt  # Ray Tune caught the first one.
    records = [r for r in read_records(prepared.folder) if r.kind == "search"]
    if code:
        errors = sorted({r.error for r in records if r.error})
        raise RuntimeError(f"the study ended with exit code {code}: {'; '.join(errors)}")
    return OurStudy(wall_s, prepared.settings.trials, records)


def run_command(given: dict[str, Any]) -> OurStudy:
    """Run a study as a user does, so that starting Python and importing count."""
    words = [str(_ROOT / "study" / "run.py")]
    for name, value in given.items():
        values = value if isinstance(value, tuple) else (value,)
        words += [spelled(name, value), *([] if isinstance(value, bool) else map(str, values))]
    wall_s = seconds(partial(call, words))
    records = [r for r in read_records(given["out"] / given["name"]) if r.kind == "search"]
    return OurStudy(wall_s, given["trials"], records)


def call(words: Sequence[str]) -> None:
    """Run this Python; raises `RuntimeError` with what it said last if it ends badly."""
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RuntimeError(f"{' '.join(words[:2])} ended with {done.returncode}: {why}")


def search_alone(prepared: Prepared, run: Run) -> OurStudy:
    """Run the search of a study on the Ray that is up, without MLflow."""
    settings, start = prepared.settings, time.perf_counter()
    journal = open_journal(prepared, NullSender(""))
    context, _ = with_features(prepared, make_context(prepared))
    search(settings, context, prepared.capacity, prepared.folder, journal, run=run)
    journal.close("done", [])
    records = [r for r in journal.records if r.kind == "search" and r.status in ENDED]
    if len(records) < settings.trials:
        raise KeyboardInterrupt  # As above.
    return OurStudy(time.perf_counter() - start, settings.trials, records)


def all_done(studies: Sequence[OurStudy]) -> Gate:
    """Gate on every trial having run to its last epoch."""
    records = [record for study in studies for record in study.records]
    done = sum(r.status == "done" and len(r.history) == r.config.epochs for r in records)
    trials = sum(study.trials for study in studies)
    return Gate(done == trials, f"{done} of {trials} trials ran to their last epoch")


@dataclass(frozen=True)
class NaiveStudy:
    """What it cost, and the metrics of its trials."""

    start_s: float
    """Ray, and the tables of a new tracking store."""
    fit_s: float
    """From the first trial's process to the end of the last one."""
    histories: list[list[EpochMetrics]]
    """In the order of the configurations."""

    def wall_s(self, trials: int) -> float:
        """Seconds for so many trials at the mean cost of the measured ones."""
        return self.start_s + self.fit_s / len(self.histories) * trials

    def later(self, seconds: float) -> "NaiveStudy":
        """The same, with so many seconds before it starts."""
        return replace(self, start_s=self.start_s + seconds)


def run_naive_study(configs: list[TrialConfig], root: Path, folder: Path, gpus: int) -> NaiveStudy:
    """Run the configurations on the images below `root`; `folder` gets all that is written."""
    start, folder = time.perf_counter(), folder.resolve()
    needs: dict[str, float] = {"CPU": 1, "GPU": 1 if gpus else 0}
    points = [config.model_dump() for config in configs]
    with local_ray(gpus):
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        # Made here: creating a database takes seconds, which are no cost of a trial.
        MlflowClient(uri).create_experiment("naive", (folder / "mlruns").as_uri())
        tracking = MLflowLoggerCallback(tracking_uri=uri, experiment_name="naive")
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trial, root=root), needs),
            param_space={"trial": tune.grid_search(points)},
            run_config=tune.RunConfig(
                name="naive", storage_path=str(folder), callbacks=[tracking], verbose=0
            ),
        )
        ready = time.perf_counter()
        results = tuner.fit()
        end = time.perf_counter()
    if results.num_errors:
        raise RuntimeError(f"{results.num_errors} naive trials failed: {results.errors[0]}")
    reported = [(results[i].metrics or {}).get("history", []) for i in range(len(results))]
    histories = [[EpochMetrics.read(epoch) for epoch in epochs] for epochs in reported]
    if [len(history) for history in histories] != [config.epochs for config in configs]:
        raise KeyboardInterrupt  # Ray Tune caught the first one.
    return NaiveStudy(ready - start, end - ready, histories)


def _trial(drawn: dict[str, Any], root: Path) -> None:
    device = find_device() if ray.get_gpu_ids() else CPU
    history: list[dict[str, Any]] = []

    def report(metrics: EpochMetrics) -> None:
        history.append(metrics.plain())
        tune.report(history[-1] | {"history": list(history)})  # Ray Tune keeps the last report.

    train_naively(TrialConfig(**drawn["trial"]), root, device, report)
