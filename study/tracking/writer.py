"""Writes the events of a study to MLflow: one parent run a study, one child a trial.

Events come from the ledger, and may come again after a failure: to write an event twice has the
same result as to write it once.
"""

import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from study.config.uris import is_database, reason, sqlite_file, without_credentials
from study.records.ledger import OUT_OF_TIME, Event, StudyState
from study.records.trial_record import Status, TrialRecord
from study.tracking.batch import Batch, in_ms
from study.tracking.client import bypass_proxies, configure_client
from study.tracking.links import address, axes, description, shared_view
from study.tracking.sync_state import KEY
from tl_core.errors import Fault, InputError

_ENDS: dict[Status, str] = {
    "done": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_STUDY = "study"
_PAGE_SIZE = 1000


class MlflowWriter:
    """Writes the runs of one study into an experiment, which is made if there is none.

    Raises `InputError` on construction when the tracking store can't be used.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        configure_client()
        bypass_proxies(uri)
        try:
            self._client = MlflowClient(uri)
            self.experiment_id = self._experiment(uri, experiment)
        except Exception as error:  # Each store has its own exceptions, down to the database's.
            shown = without_credentials(uri)
            why = reason(error, uri).replace("<database_uri>", shown)  # In MLflow's advice.
            message = f"{shown}: {why}"
            raise InputError([Fault("--tracking-uri", message)]) from error
        self.uri = uri
        self.run_ids: dict[str, str] = {}
        """MLflow's id of the run of the study, and of each trial by its number."""
        self.unsure = False
        """Whether the store may have runs that `run_ids` lacks: then they are searched for."""
        self.gone: set[str] = set()
        """Files that could not be sent, as they are not there any more."""
        self.notes: set[str] = set()
        """What users must know of the study's winner in the store."""
        self._waiting: dict[str, Batch] = {}

    def write(self, event: Event, state: StudyState) -> None:
        """Take the latest event of a study in this state; some of it waits for `flush`."""
        match event["event"]:
            case "study":
                self._start_study(state, event)
            case "start":
                self._start_trial(state, event)
            case "epoch":
                values = {name: v for name, v in event["metrics"].items() if v is not None}
                step = values.pop("epoch")
                self._batch(str(event["trial"])).add(values, step, event["at"])
            case "end":
                self._end_trial(state, event)
            case "close":
                self._end_study(state, event)

    def flush(self, arrived: Callable[[], None] = lambda: None) -> None:
        """Send what waits; call `arrived` after each run, as the files of one may take minutes."""
        while self._waiting:
            key = next(iter(self._waiting))
            batch = self._waiting[key]
            self.gone |= {*batch.send(self._client, self.run_ids[key])}
            self.notes |= {batch.note} - {""}
            del self._waiting[key]
            arrived()

    def discard(self) -> None:
        """After a failure: drop what waits, as all of it is written again."""
        self._waiting.clear()
        self.unsure = True

    def find_runs(self, study_id: str) -> None:
        """Find the study's runs in the store; delete one of two runs that are the same.

        There are two when the answer to the creation of the first was lost.
        """
        duplicates = []
        for run in self._runs(study_id):
            key = run.data.tags[KEY].rpartition("/")[2]
            if self.run_ids.setdefault(key, run.info.run_id) != run.info.run_id:
                duplicates.append(run.info.run_id)
        for run_id in duplicates:
            self._client.delete_run(run_id)
        self.unsure = False

    def lost_runs(self, study_id: str) -> set[str]:
        """Keys of the runs in `run_ids` that the store no longer has, or has as deleted ones."""
        there = {run.info.run_id for run in self._runs(study_id)}
        return {key for key, run_id in self.run_ids.items() if run_id not in there}

    def _runs(self, study_id: str) -> Iterator[Run]:
        query, page = f"tags.`{KEY}` LIKE '{study_id}/%'", None
        while True:
            runs = self._client.search_runs(
                [self.experiment_id], query, max_results=_PAGE_SIZE, page_token=page
            )
            yield from runs
            if not (page := runs.token):
                return

    def _experiment(self, uri: str, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            # Files beside a SQLite database; by default MLflow puts them into the working folder.
            file = sqlite_file(uri)
            folder = (file.resolve().parent / "mlruns").as_uri() if file else None
            try:
                return str(self._client.create_experiment(name, folder))
            except MlflowException:  # Another study may have been faster.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise MlflowException(f"experiment {name!r} is deleted; restore or purge it")
        return str(found.experiment_id)

    def _open(
        self, key: str, state: StudyState, name: str, tags: dict[str, str], at: float
    ) -> Batch:
        """Create a run, or reopen it if it exists; return what waits for it."""
        study_id = state.about["id"]
        if key not in self.run_ids and self.unsure:
            self.find_runs(study_id)
        if key in self.run_ids:
            self._client.update_run(self.run_ids[key], "RUNNING")
        else:
            tags |= {KEY: f"{study_id}/{key}"}
            run = self._client.create_run(self.experiment_id, in_ms(at), tags, name)
            self.run_ids[key] = run.info.run_id
        return self._batch(key)

    def _batch(self, key: str) -> Batch:
        return self._waiting.setdefault(key, Batch())

    def _start_study(self, state: StudyState, event: Event) -> None:
        settings = state.about["settings"]
        if settings["debug"]:
            return  # A single trial needs no parent.
        batch = self._open(_STUDY, state, state.name, {"tl_study.kind": "study"}, event["at"])
        batch.end = None  # Its last end may still wait to be sent.
        batch.tags["tl_study.status"] = state.status
        if not event["again"]:  # Params of a run can't be changed.
            # As text: a class may have characters that MLflow refuses in the name of a param.
            data = state.about["data"] | {"classes": json.dumps(state.about["data"]["classes"])}
            batch.params |= _flat(state.about | {"data": data})
        # The view that the printed link opens.
        parent_id = self.run_ids[_STUDY]
        key, value = shared_view(
            parent_id, settings["metric"], settings["mode"], "auto" in settings["aux_weight"]
        )
        self._client.set_experiment_tag(self.experiment_id, key, value)
        self._describe(batch, {})

    def _start_trial(self, state: StudyState, event: Event) -> None:
        record = state.records[event["trial"]]
        # Short: the page that compares trials truncates long names.
        name = f"{record.trial} {record.config.mode} {record.config.train_ratio:g}"
        kind = "trial" if record.kind == "search" else record.kind
        tags = {"tl_study.kind": kind, "tl_study.study": state.name}
        if _STUDY in self.run_ids:
            tags["mlflow.parentRunId"] = self.run_ids[_STUDY]
        batch = self._open(str(record.trial), state, name, tags, event["at"])
        batch.end = None  # A trial that another worker continues may still wait to be ended.
        source = {} if record.source is None else {"source": record.source}
        # A run that is there may have been below a parent that is lost.
        batch.tags |= {name: tags[name] for name in ("mlflow.parentRunId",) if name in tags}
        params = {"trial": record.trial} | source | record.config.model_dump()
        batch.params |= params | axes(record.config) | _flat(event["about"])

    def _end_trial(self, state: StudyState, event: Event) -> None:
        record, at = state.records[event["trial"]], event["at"]
        batch = self._batch(str(record.trial))
        batch.add(record.test | {"wall_s": record.wall_s}, len(record.history), at)
        tags = {"status": record.status, "error": record.error, "node": record.node}
        batch.tags |= {f"tl_study.{name}": value for name, value in tags.items() if value}
        batch.end, batch.files = (_ENDS[record.status], at), event["files"]
        if event["model"]:  # At once, while the study runs: it takes seconds.
            self._batch(_STUDY).model = event["model"]
        if _STUDY in self.run_ids:
            self._add_best(state, record, at)

    def _add_best(self, state: StudyState, ended: TrialRecord, at: float) -> None:
        """Add the search's best value so far to the parent, by number of finished trials."""
        metric = state.about["settings"]["metric"]
        if state.best(metric) is ended and (value := ended.value(metric)) is not None:
            self._batch(_STUDY).add({f"search_best_{metric}": value}, state.n_finished, at)

    def _describe(self, batch: Batch, outcome: dict[str, Any]) -> None:
        """Have the parent's description give the answer, with links to winner and trials."""
        links = [f"[Compare the trials]({address(self.experiment_id, self.run_ids[_STUDY])})"]
        best = outcome.get("winner", {}).get("trial")
        if run_id := self.run_ids.get(str(best)):
            place = f"#/experiments/{self.experiment_id}/runs/{run_id}"
            links.insert(0, f"[Winner, trial {best}]({place})")
        batch.tags["mlflow.note.content"] = description(links, outcome.get("answer", ()))

    def _end_study(self, state: StudyState, event: Event) -> None:
        """End the parent, with the study's answer, winner and files."""
        if _STUDY not in self.run_ids:
            return
        batch, status = self._batch(_STUDY), event["status"]
        if outcome := event["outcome"]:  # A study that was interrupted has none.
            self._describe(batch, outcome)
            winner = outcome.get("winner", {})
            batch.tags |= {f"tl_study.winner_{name}": value for name, value in winner.items()}
            scores = {name: v for name, v in outcome.get("scores", {}).items() if v is not None}
            batch.add(scores, len(state.records), event["at"])
        batch.files, batch.tags["tl_study.status"] = event["files"], status
        batch.end = (
            "KILLED" if status in ("interrupted", OUT_OF_TIME) else "FINISHED",
            event["at"],
        )


def import_store(uri: str) -> None:
    """Import the part of MLflow that a database needs, which takes two seconds."""
    if is_database(uri) or sqlite_file(uri):
        importlib.import_module("mlflow.store.tracking.sqlalchemy_store")


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as flat params, the only ones that MLflow's parallel coordinates take."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat
