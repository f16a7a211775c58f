"""The one MLflow writer: a parent run a study, a child a trial, metrics in batches."""

import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from study.records import Status, TrialRecord
from study.results import without_credentials
from study.view import address, shared_view
from tl_core.config import Metric as MetricName
from tl_core.errors import InputError
from tl_core.fit import EpochMetrics

EXPERIMENT = "tl-study"
_FLUSH_S = 1.0
_ENDS: dict[Status, str] = {
    "done": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
# The server takes at most 1,000 metrics and 100 params in a batch, and 6,000 characters a param.
_MOST_METRICS, _MOST_PARAMS, _LONGEST_PARAM = 1000, 100, 6000


class Tracker:
    """Writes one study's runs; lives on the driver, so that nothing else talks to the server.

    Raises `InputError` on construction when the tracking store can't be used.
    """

    def __init__(self, uri: str) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # It tells of each table it makes,
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # and each run.
        try:
            self._client = MlflowClient(uri)
            with _impatience():
                self.experiment_id = self._experiment(uri)
        except Exception as error:  # Each store has its own exceptions, down to the database's.
            raise InputError(
                [f"--tracking-uri {without_credentials(uri)}: {reason(error, uri)}"]
            ) from error
        self.uri = uri
        self._runs: dict[int, _Run] = {}
        self.parent_id: str | None = None
        self.view_key: str | None = None
        """What the link to the study's view has to name; None if there is no view."""

    def start_study(self, name: str, about: dict[str, Any]) -> None:
        """Open the parent run: what study.json says, as flat params."""
        # The name of a class may hold what MLflow refuses in the name of a param.
        data = about["data"] | {"classes": json.dumps(about["data"]["classes"])}
        tags = {"mlflow.runName": name, "tl_study.kind": "study"}
        run = self._client.create_run(self.experiment_id, tags=tags, run_name=name)
        self.parent_id = run.info.run_id
        self._log(self.parent_id, [], _flat(about | {"data": data}), {})

    def share_view(self, metric: MetricName) -> None:
        """Store the view that the printed link opens, and that link in the parent's description."""
        if not self.parent_id:
            return
        key, value = shared_view(self.parent_id, metric)
        self._client.set_experiment_tag(self.experiment_id, key, value)
        self.view_key = self.parent_id
        note = f"[Compare the trials]({address(self.experiment_id, self.view_key)})"
        self._client.set_tag(self.parent_id, "mlflow.note.content", note)

    def start_trial(self, study: str, record: TrialRecord, about: dict[str, Any]) -> None:
        """Open a trial's run, below the parent if there is one."""
        # Short: the page that compares trials cuts long names off.
        name = f"{record.trial} {record.config.mode} {record.config.train_ratio:g}"
        tags = {"tl_study.kind": "trial", "tl_study.study": study}
        if self.parent_id:
            tags["mlflow.parentRunId"] = self.parent_id
        run_id = self._client.create_run(
            self.experiment_id, _ms(record.started_at), tags, name
        ).info.run_id
        params = {"trial": record.trial} | record.config.model_dump() | _flat(about)
        params["log10_lr"] = round(math.log10(record.config.lr), 3)  # An axis of the view.
        self._runs[record.trial] = _Run(run_id, params)

    def epoch(self, trial: int, metrics: EpochMetrics, at: float) -> None:
        """Keep one epoch of a trial for the next batch; a batch goes out once a second.

        `at` is when it ended, seconds since 1970: it may have waited for its turn.
        """
        run = self._runs[trial]
        values = asdict(metrics)
        step = values.pop("epoch")
        values = {name: value for name, value in values.items() if value is not None}
        run.waiting += [_metric(name, value, step, at) for name, value in values.items()]
        if time.monotonic() - run.sent_at > _FLUSH_S:
            self._send(run)

    def end_trial(self, record: TrialRecord, plots: list[Path] | None = None) -> None:
        """Send what is left and close the trial's run, FAILED with the reason if it failed."""
        run = self._runs.pop(record.trial)
        step = len(record.history)
        ended_at = record.started_at + record.wall_s
        extra = record.test | {"wall_s": record.wall_s}
        run.waiting += [_metric(name, value, step, ended_at) for name, value in extra.items()]
        tags: dict[str, str] = {"tl_study.status": record.status}
        if record.error:
            tags["tl_study.error"] = record.error
        self._send(run, tags)
        for path in plots or []:
            self._client.log_artifact(run.run_id, str(path))
        self._client.set_terminated(run.run_id, _ENDS[record.status], _ms(ended_at))

    def best(self, metric: MetricName, best: TrialRecord, finished: int) -> None:
        """Log the best so far on the parent, by number of finished trials."""
        value = best.value(metric)
        if self.parent_id and value is not None:
            self._log(
                self.parent_id, [_metric(f"best_{metric}", value, finished, time.time())], {}, {}
            )

    def end_study(self, status: str, files: list[Path]) -> None:
        """Attach the study's files to the parent and close it."""
        if not self.parent_id:
            return
        for path in files:
            self._client.log_artifact(self.parent_id, str(path))
        self._client.set_tag(self.parent_id, "tl_study.status", status)
        ended = "KILLED" if status == "interrupted" else "FINISHED"
        self._client.set_terminated(self.parent_id, ended)

    def _experiment(self, uri: str) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            try:
                return str(self._client.create_experiment(EXPERIMENT, _artifact_folder(uri)))
            except MlflowException:  # Another study may have been faster.
                found = self._client.get_experiment_by_name(EXPERIMENT)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise MlflowException(f"experiment {EXPERIMENT!r} is deleted; restore or purge it")
        return str(found.experiment_id)

    def _send(self, run: "_Run", tags: dict[str, str] | None = None) -> None:
        self._log(run.run_id, run.waiting, run.params, tags or {})
        run.waiting, run.params, run.sent_at = [], {}, time.monotonic()

    def _log(
        self, run_id: str, metrics: list[Metric], params: dict[str, Any], tags: dict[str, str]
    ) -> None:
        """Send everything in as few calls as the store allows: for most trials in one."""
        told = [Param(name, str(value)[:_LONGEST_PARAM]) for name, value in params.items()]
        marks = [RunTag(name, value) for name, value in tags.items()]
        while metrics or told or marks:
            some, few = metrics[:_MOST_METRICS], told[:_MOST_PARAMS]
            # Everything together may be at most as much as the metrics alone.
            some = some[: _MOST_METRICS - len(few) - len(marks)]
            self._client.log_batch(run_id, some, few, marks)
            metrics, told, marks = metrics[len(some) :], told[len(few) :], []


@contextmanager
def _impatience() -> Iterator[None]:
    """Let the first contact fail in seconds: MLflow would try for four minutes."""
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    ours = {name: value for name, value in limits.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def _artifact_folder(uri: str) -> str | None:
    """Files beside a SQLite database; MLflow puts them into the working folder otherwise."""
    path = uri.removeprefix("sqlite:///")
    return (Path(path).resolve().parent / "mlruns").as_uri() if path != uri else None


class _Run:
    """One open run, and the params and metrics that wait to be sent."""

    def __init__(self, run_id: str, params: dict[str, Any]) -> None:
        self.run_id = run_id
        self.params = params
        self.waiting: list[Metric] = []
        self.sent_at = time.monotonic()


def where_to_look(uri: str, experiment_id: str, view_key: str | None = None) -> str:
    """The command that starts MLflow's pages, and the address that opens the trials in them."""
    view = address(experiment_id, view_key)
    if uri.startswith(("http://", "https://")):
        return f"compare trials: {without_credentials(uri).rstrip('/')}/{view}"
    # Beside this Python, if the virtual environment is not activated.
    mlflow = "mlflow" if shutil.which("mlflow") else Path(sys.executable).with_name("mlflow")
    return (
        f"compare trials: {mlflow} ui --backend-store-uri {without_credentials(uri)}\n"
        f"          then: http://127.0.0.1:5000/{view}"
    )


def _metric(name: str, value: float, step: int, at: float) -> Metric:
    return Metric(name, value, _ms(at), step)


def _ms(at: float) -> int:
    return int(at * 1000)


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as flat params; MLflow's parallel coordinates take nothing else."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat


def reason(error: Exception, uri: str) -> str:
    """First line of the error, which may quote the URI, without user and password."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    credentials, at, _ = urlsplit(uri).netloc.rpartition("@")
    return line.replace(credentials + at, "") if at else line
