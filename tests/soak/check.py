"""Whether ledger, trials.csv and MLflow agree on a study, trial by trial."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from study.records.ledger import StudyState, read_events
from study.records.study_folder import LEDGER
from study.records.trial_record import TrialRecord, best_of

STUDY = "study"
ENDS = {"done": "FINISHED", "pruned": "FINISHED"}
"""MLflow's status of trials that ended well."""
Row = Mapping[str, str]
Sent = dict[str, list[tuple[int, float]]]
"""Metric -> every (step, value) sent."""


@dataclass
class RunState:
    """A run as MLflow has it, or as it should be by the ledger."""

    status: str
    parent: str
    """Key of its parent: `study`, or empty."""
    word: str
    """How the trial or the study ended, as the study calls it."""
    params: dict[str, str]
    metrics: dict[str, float]
    """Last values."""
    sent: Sent = field(default_factory=dict)


def check(folder: Path, trials: int, runs: Sequence[tuple[str, RunState]]) -> list[str]:
    """Compare a study's ledger and trials.csv in `folder` with MLflow's runs.

    Returns each disagreement with its trial and field.
    """
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    state, expected = _replay(folder / LEDGER)
    return [
        *_counts(state, trials),
        *_rows([r for r in state.trials if r.kind == "search"], rows),
        *_runs(expected, runs),
    ]


def _replay(ledger: Path) -> tuple[StudyState, dict[str, RunState]]:
    """The study by its ledger, and the runs that MLflow should have."""
    state, sent = StudyState(), dict[int, Sent]()
    for event, _ in read_events(ledger):
        state.add(event)
        if event["event"] in ("epoch", "end"):
            trial = event["trial"]
            _add(sent.setdefault(trial, {}), event, len(state.records[trial].history))
    states = {str(r.trial): _state(r, sent.get(r.trial, {})) for r in state.trials}
    return state, {STUDY: _parent(state)} | states


def _add(sent: Sent, event: Mapping[str, Any], epochs: int) -> None:
    values = event["metrics"] if event["event"] == "epoch" else {"wall_s": event["wall_s"]}
    for name, value in (values | event.get("test", {})).items():
        if name != "epoch" and value is not None:
            sent.setdefault(name, []).append((epochs, value))


def _state(record: TrialRecord, sent: Sent) -> RunState:
    params = record.config.model_dump() | {"trial": record.trial}
    return RunState(
        status=ENDS.get(record.status, "not ended well"),
        parent=STUDY,
        word=record.status,
        params={name: str(value) for name, value in params.items()},
        metrics={name: values[-1][1] for name, values in sent.items()},
        sent=sent,
    )


def _parent(state: StudyState) -> RunState:
    metric = state.about["settings"]["metric"]
    best = best_of(state.trials, metric)
    values = {f"search_best_{metric}": best.value(metric)} if best else {}
    last = {name: value for name, value in values.items() if value is not None}
    return RunState("FINISHED", "", "done", {}, last)


def _counts(state: StudyState, trials: int) -> Iterator[str]:
    if state.status != "done":
        yield f"ledger: the study is {state.status!r}, not 'done'"
    searched = [r for r in state.trials if r.kind == "search"]
    if [r.trial for r in searched] != list(range(trials)):
        yield f"ledger: {len(searched)} trials of the search instead of {trials}, or other numbers"
    for record in state.trials:
        whole = record.status == "pruned" or len(record.history) == record.config.epochs
        if record.status not in ENDS or not whole:
            yield f"trial {record.trial}: {record.status} after {len(record.history)} epochs"


def _rows(records: Sequence[TrialRecord], rows: Sequence[Row]) -> Iterator[str]:
    yield from _one_each("trials.csv", [str(r.trial) for r in records], [r["trial"] for r in rows])
    by_trial = {row["trial"]: row for row in rows}
    for record in records:
        row = by_trial.get(str(record.trial), {})
        for name, value in record.row().items():
            if row and not _same(row.get(name), value):
                values = f"trials.csv {row.get(name)!r}, ledger {value!r}"
                yield f"trial {record.trial}, {name}: {values}"


def _same(cell: str | None, value: object) -> bool:
    if cell is None or value is None:
        return not cell and value is None
    if isinstance(value, int | float):
        return cell != "" and float(cell) == value
    return cell == str(value)


def _runs(expected: Mapping[str, RunState], runs: Sequence[tuple[str, RunState]]) -> Iterator[str]:
    yield from _one_each("MLflow", list(expected), [key for key, _ in runs])
    for key, run in runs:
        if key in expected:
            yield from _differences(_name(key), expected[key], run)


def _differences(name: str, ledger: RunState, mlflow: RunState) -> Iterator[str]:
    for one in fields(RunState):
        here, there = getattr(ledger, one.name), getattr(mlflow, one.name)
        if not isinstance(here, dict):
            here, there = {one.name: here}, {one.name: there}
        # A parent has further params and metrics; a trial has exactly these metrics.
        names = here if name == STUDY or one.name == "params" else here.keys() | there.keys()
        for key in sorted(names):
            if here.get(key) != there.get(key):
                values = f"MLflow {there.get(key)!r}, ledger {here.get(key)!r}"
                yield f"{name}, {one.name}{'' if key == one.name else f' {key}'}: {values}"


def _one_each(where: str, wanted: Sequence[str], there: Sequence[str]) -> Iterator[str]:
    found = Counter(there)
    yield from (f"{_name(key)}: not in {where}" for key in wanted if not found[key])
    yield from (f"{_name(key)}: {n} times in {where}" for key, n in found.items() if n > 1)
    yield from (f"{_name(key)}: in {where} alone" for key in found if key not in set(wanted))


def _name(key: str) -> str:
    return f"trial {key}" if key.isdecimal() else key


def read_runs(client: MlflowClient, study_id: str) -> list[tuple[str, RunState]]:
    """Every run of a store that holds this study alone, with its key in the study."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs: list[Run] = []
    page = None
    while True:
        found = client.search_runs(experiments, max_results=1000, page_token=page)
        runs += found
        if not (page := found.token):
            break
    keys = {run.info.run_id: _key(run, study_id) for run in runs}
    return [(keys[run.info.run_id], _read(client, run, keys)) for run in runs]


def _key(run: Run, study_id: str) -> str:
    owner, _, key = run.data.tags.get("tl_study.key", "").rpartition("/")
    return key if owner == study_id else f"stray run {run.info.run_id}"


def _read(client: MlflowClient, run: Run, keys: Mapping[str, str]) -> RunState:
    sent: Sent = {}
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        ordered = sorted(history, key=lambda m: (m.step, m.timestamp))
        sent[name] = [(m.step, m.value) for m in ordered]
    tags = run.data.tags
    parent = keys.get(tags.get("mlflow.parentRunId", ""), "")
    word = tags.get("tl_study.status", "")
    return RunState(run.info.status, parent, word, run.data.params, run.data.metrics, sent)
