"""The one MLflow writer: a parent run a study, a child a trial, metrics in batches.

What it is told comes from the ledger, and may come again after a failure: telling it twice leaves
what telling it once does.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from study.config.uris import reason, without_credentials
from study.records.ledger import Event, StudyState
from study.records.trial_record import Status, TrialRecord, best_of
from study.tracking.batch import Batch, in_ms
from study.tracking.client import settle_client, time_for_files
from study.tracking.links import address, axes, shared_view
from tl_core.errors import InputError
from tl_core.inference.model_card import CARD, read_card

EXPERIMENT = "tl-study"
_ENDS: dict[Status, str] = {
    "done": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_STUDY, _MODEL, _KEY = "study", "tl_study.model_sha256", "tl_study.key"
_MOST_RUNS = 1000


class MlflowWriter:
    """Writes one study's runs.

    Raises `InputError` on construction when the tracking store can't be used.
    """

    def __init__(self, uri: str) -> None:
        settle_client()
        try:
            self._client = MlflowClient(uri)
            self.experiment_id = self._experiment(uri)
        except Exception as error:  # Each store has its own exceptions, down to the database's.
            raise InputError(
                [f"--tracking-uri {without_credentials(uri)}: {reason(error, uri)}"]
            ) from error
        self.uri = uri
        self.run_ids: dict[str, str] = {}
        """Run of the study, and of each trial by its number."""
        self.unsure = False
        """Whether runs may be there although their ids are not known: then they are looked for."""
        self._waiting: dict[str, Batch] = {}

    def tell(self, event: Event, state: StudyState) -> None:
        """Hear one event, the last that the story holds; some of it waits for `flush`."""
        match event["event"]:
            case "study":
                self._start_study(state, event)
            case "start":
                self._start_trial(state, event)
            case "epoch":
                self._epoch(event)
            case "end":
                self._end_trial(state, event)
            case "close":
                self._end_study(event)

    def flush(self) -> None:
        """Send what waits."""
        while self._waiting:
            key = next(iter(self._waiting))
            self._send(key)
            del self._waiting[key]

    def forget(self) -> None:
        """After a failure: drop what waits, as all of it will be told again."""
        self._waiting.clear()
        self.unsure = True

    def _start_study(self, state: StudyState, event: Event) -> None:
        if state.about["settings"]["debug"]:
            return  # A single trial needs no parent.
        # The name of a class may hold what MLflow refuses in the name of a param.
        data = state.about["data"] | {"classes": json.dumps(state.about["data"]["classes"])}
        tags = {"tl_study.kind": "study"}
        self._open(_STUDY, state, state.name, tags, event["at"])
        if not event["again"]:  # What a run was told once can't be changed.
            self._batch(_STUDY).params |= _flat(state.about | {"data": data})
        self._share_view(state)

    def _share_view(self, state: StudyState) -> None:
        """Store the view that the printed link opens, and that link in the parent's description."""
        parent_id, settings = self.run_ids[_STUDY], state.about["settings"]
        key, value = shared_view(parent_id, settings["metric"], "auto" in settings["aux_weight"])
        self._client.set_experiment_tag(self.experiment_id, key, value)
        note = f"[Compare the trials]({address(self.experiment_id, parent_id)})"
        self._batch(_STUDY).tags["mlflow.note.content"] = note

    def _start_trial(self, state: StudyState, event: Event) -> None:
        key = str(event["trial"])
        record = state.records[event["trial"]]
        # Short: the page that compares trials cuts long names off.
        name = f"{key} {record.config.mode} {record.config.train_ratio:g}"
        kind = "trial" if record.kind == "search" else record.kind
        tags = {"tl_study.kind": kind, "tl_study.study": state.name}
        if _STUDY in self.run_ids:
            tags["mlflow.parentRunId"] = self.run_ids[_STUDY]
        self._open(key, state, name, tags, event["at"])
        source = {} if record.source is None else {"source": record.source}
        params = {"trial": record.trial} | source | record.config.model_dump()
        self._batch(key).params |= params | axes(record.config) | _flat(event["about"])

    def _epoch(self, event: Event) -> None:
        values = dict(event["metrics"])
        step = values.pop("epoch")
        batch = self._batch(str(event["trial"]))
        batch.add({n: v for n, v in values.items() if v is not None}, step, event["at"])

    def _end_trial(self, state: StudyState, event: Event) -> None:
        key, record = str(event["trial"]), state.records[event["trial"]]
        batch = self._batch(key)
        batch.add(record.test | {"wall_s": record.wall_s}, len(record.history), event["at"])
        batch.tags["tl_study.status"] = record.status
        if record.error:
            batch.tags["tl_study.error"] = record.error
        if record.node:
            batch.tags["tl_study.node"] = record.node
        batch.ends = (_ENDS[record.status], event["at"])
        batch.files = event["files"]
        if event["model"]:  # At once, while the study goes on: it takes seconds.
            self._batch(_STUDY).model = event["model"]
        self._best(state, record, event["at"])

    def _best(self, state: StudyState, ended: TrialRecord, at: float) -> None:
        """Log the best so far on the parent, by number of finished trials."""
        if _STUDY not in self.run_ids:
            return
        metric = state.about["settings"]["metric"]
        finished = [r for r in state.records.values() if r.status != "running"]
        if best_of(finished, metric) is ended and (value := ended.value(metric)) is not None:
            self._batch(_STUDY).add({f"best_{metric}": value}, len(finished), at)

    def _end_study(self, event: Event) -> None:
        """Attach the study's files to the parent and close it."""
        if _STUDY not in self.run_ids:
            return
        batch = self._batch(_STUDY)
        batch.files = event["files"]
        batch.tags["tl_study.status"] = event["status"]
        ended = "KILLED" if event["status"] == "interrupted" else "FINISHED"
        batch.ends = (ended, event["at"])

    def find(self, study_id: str) -> None:
        """Learn the ids of the study's runs that are there; of a run that is there twice, as an
        answer was lost, one is deleted.
        """
        strays = []
        for run in self._runs(study_id):
            key = run.data.tags[_KEY].rpartition("/")[2]
            if self.run_ids.setdefault(key, run.info.run_id) != run.info.run_id:
                strays.append(run.info.run_id)
        for run_id in strays:
            self._client.delete_run(run_id)
        self.unsure = False

    def _runs(self, study_id: str) -> Iterator[Run]:
        wanted, page = f"tags.`{_KEY}` LIKE '{study_id}/%'", None
        while True:
            runs = self._client.search_runs(
                [self.experiment_id], wanted, max_results=_MOST_RUNS, page_token=page
            )
            yield from runs
            if not (page := runs.token):
                return

    def _open(
        self, key: str, state: StudyState, name: str, tags: dict[str, str], at: float
    ) -> None:
        """Create the run; one that is there is opened again."""
        study_id = state.about["id"]
        if key not in self.run_ids and self.unsure:
            self.find(study_id)
        if key in self.run_ids:
            self._client.update_run(self.run_ids[key], "RUNNING")
            return
        tags |= {_KEY: f"{study_id}/{key}"}
        run = self._client.create_run(self.experiment_id, in_ms(at), tags, name)
        self.run_ids[key] = run.info.run_id

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

    def _register(self, run_id: str, folder: Path) -> None:
        """Put the winner's weights into the model registry, under the study's name."""
        from study.tracking.registry import register_model  # Takes a second to import.

        run, weights = self._client.get_run(run_id), read_card(folder / CARD).sha256
        if run.data.tags.get(_MODEL) != weights:  # Told again, it would be a version more.
            register_model(self._client, run_id, folder, run.info.run_name)
            self._client.set_tag(run_id, _MODEL, weights)

    def _batch(self, key: str) -> "Batch":
        return self._waiting.setdefault(key, Batch())

    def _send(self, key: str) -> None:
        """Send everything in as few calls as the store allows: for most trials in one."""
        run_id, batch = self.run_ids[key], self._waiting[key]
        for metrics, params, tags in batch.parts():
            self._client.log_batch(run_id, metrics, params, tags)
        with time_for_files():
            for path in batch.files:
                if Path(path).exists():  # A ledger may be sent long after; files may be gone.
                    self._client.log_artifact(run_id, path)
        if batch.ends:
            status, at = batch.ends
            self._client.set_terminated(run_id, status, in_ms(at))
        if batch.model and Path(batch.model).exists():
            with time_for_files():
                self._register(run_id, Path(batch.model))


def _artifact_folder(uri: str) -> str | None:
    """Files beside a SQLite database; MLflow puts them into the working folder otherwise."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return (
        (Path(path).resolve().parent / "mlruns").as_uri() if uri.startswith("sqlite:///") else None
    )


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as flat params; MLflow's parallel coordinates take nothing else."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat
