"""Whole studies on a real Ray."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pandas as pd
import pytest
from mlflow import MlflowClient
from rich.console import Console

from study.cluster.capacity import Capacity
from study.diagnosis.observed import Expected
from study.errors import NodeError
from study.execution import jobs, run_study
from study.execution.run_study import EXIT_CODES, _status, open_journal
from study.records.journal import Journal
from study.records.ledger import Ledger, read_records, read_state
from study.records.study_files import Results
from study.records.trial_record import Status
from study.tracking.sender import NullSender
from study.trials.sweep import sweep
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import all_runs, make_settings, plain_shape
from tests.support.studies.ray_runs import FinishedStudy, RayRun, results
from tests.support.studies.stages import finish, run_stage, search_record
from tests.support.studies.synthetic import tiny_study
from tests.support.study_fixtures import Patch, Run
from tl_core import load_model
from tl_core.errors import Fault, InputError, OutOfTimeError

pytestmark = pytest.mark.usefixtures("uri")
MINE = Path("runs/mine")
OWN_NET = (
    "--backbone", "mlp", "--mode", "scratch", "--image-size", SIDE, "--name", "mine",
    "--no-confirm",
)  # fmt: skip


CELLS = {(mode, ratio) for mode in ("freeze", "finetune") for ratio in (0.2, 0.4)}


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def trials() -> Any:
    return pd.read_csv(MINE / "trials.csv")


@pytest.mark.parametrize(("statuses", "stages", "last", "status"), [
    (["done", "done", "pruned"], 3, "done", "done"),
    (["done", "failed", "pruned"], 3, "done", "some trials failed"),
    (["done", "done", "done"], 3, "failed", "some trials failed"),
    (["failed", "failed", "failed"], 0, "done", "some trials failed"),
    # Repeats, confirming trials, the winner: each stage is needed.
    (["done", "done", "done"], 0, "done", "interrupted"),
    (["done", "done", "done"], 1, "done", "interrupted"),
    (["done", "done", "done"], 2, "done", "interrupted"),
    (["done", "done", "done"], 3, "interrupted", "interrupted"),
    (["done", "done"], 0, "done", "interrupted"),
    (["done", "failed", "interrupted"], 0, "done", "interrupted"),
    ([], 0, "done", "interrupted"),
])  # fmt: skip
def test_status_of_a_study_of_three_trials(
    statuses: list[Status], stages: int, last: Status, status: str
) -> None:
    given = make_settings(data="photos", mode=["freeze"], train_ratio=["0.1"], trials="3")
    records = [
        search_record(i, "freeze", 0.1, 0.5, s, lr=0.01 + 0.01 * i) for i, s in enumerate(statuses)
    ]
    for _ in range(stages):
        run_stage(given, records)
    if stages:
        records[-1].status = last
    journal = Journal(cast(Results, None), Ledger(Path()), records)
    prepared = SimpleNamespace(settings=given)
    assert _status(journal, prepared) == status  # type: ignore[arg-type]
    late = _status(journal, prepared, left_out=True)  # type: ignore[arg-type]
    assert late == ("out of time" if status == "interrupted" else status)
    assert EXIT_CODES["out of time"] == 5
    assert EXIT_CODES[status] == {"done": 0, "some trials failed": 3, "interrupted": 130}[status]


def three_trials(folder: Path, monkeypatch: Patch) -> Any:
    """A study of three trials that is about to start."""
    settings = make_settings(data="photos", mode=("freeze",), train_ratio=(0.1,), trials=3)
    expected = Expected(settings, plain_shape(100, 2, 512), [])
    monkeypatch.setattr(run_study, "shape_of", lambda *_: expected.shape)
    monkeypatch.setattr(run_study, "expect", lambda *_: expected)
    return SimpleNamespace(
        settings=settings, images=None, state=None, folder=folder, capacity=Capacity(2, 2, 0),
        resources=SimpleNamespace(joined=False), end=None,
    )  # fmt: skip


@pytest.mark.parametrize(("complete", "status"), [(True, "done"), (False, "out of time")])
def test_a_study_whose_last_trial_ends_as_the_time_does_is_done(
    complete: bool, status: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    def search(*_: object, **__: object) -> None:
        raise OutOfTimeError

    budget = SimpleNamespace(left_out={}, is_stuck=False, describe=list)
    monkeypatch.setattr("study.execution.time_budget.make_time_budget", lambda *_: budget)
    monkeypatch.setattr("study.execution.search.search", search)
    monkeypatch.setattr(run_study, "plan", lambda *_: [])
    monkeypatch.setattr(run_study, "_files", lambda *_: ([], None, {}))
    prepared = three_trials(tmp_path, monkeypatch)
    journal = MagicMock(records=[])
    journal.complete.return_value = complete
    given = prepared, cast(Any, None), False, journal, Console(record=True), lambda: None
    assert run_study._search(*given)[0] == status
    journal.close.assert_called_once_with(status, [], {})


def test_a_time_that_never_suffices_is_a_fault(tmp_path: Path, monkeypatch: Patch) -> None:
    budget = SimpleNamespace(left_out={"search": 1}, is_stuck=True, describe=lambda: ["too late"])
    monkeypatch.setattr("study.execution.time_budget.make_time_budget", lambda *_: budget)
    monkeypatch.setattr("study.execution.search.search", lambda *_, **__: None)
    monkeypatch.setattr(run_study, "_files", lambda *_: ([], None, {}))
    prepared = three_trials(tmp_path, monkeypatch)
    console, journal = Console(record=True), MagicMock(records=[])
    journal.complete.return_value = False
    given = prepared, cast(Any, None), False, journal, console, lambda: None
    status, _, late = run_study._search(*given)
    assert (status, EXIT_CODES[status], late) == ("too little time", 2, ["too late"])
    journal.close.assert_called_once_with("out of time", [], {})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_study, "_files", interrupted)
    status, *_ = run_study._search(*given)
    assert (status, EXIT_CODES[status]) == ("interrupted", 130)


@pytest.mark.parametrize(("status", "then"), [
    ("too little time", "go on with a longer --max-time, or none"), ("out of time", "go on with"),
])  # fmt: skip
def test_the_last_lines_say_how_much_longer_the_time_must_be(
    status: str, then: str, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_study, "make_context", lambda _: None)
    monkeypatch.setattr(run_study, "with_features", lambda *_: (None, False))
    monkeypatch.setattr(run_study, "open_journal", lambda *_: MagicMock(records=[]))
    monkeypatch.setattr(run_study, "set_exit_message", lambda _: None)
    monkeypatch.setattr(run_study, "_search", lambda *_: (status, None, ["an hour more"]))
    monkeypatch.setattr(run_study, "print_summary", lambda *args: args[-1].print("the answer"))
    monkeypatch.setattr(run_study, "close_sender", lambda *_, **__: None)
    settings, machine = make_settings(data="photos", name="mine"), SimpleNamespace(joined=False)
    prepared: Any = SimpleNamespace(settings=settings, folder=MINE, resources=machine)
    code = run_study.run_study(prepared, Console(soft_wrap=True), MagicMock())
    assert code == EXIT_CODES[status]
    printed = capsys.readouterr().out.splitlines()
    last = f"{status}; {then}: python study/run.py --resume mine"
    assert printed == ["the answer", "an hour more", last]


def test_a_study_ends_without_trials_that_were_cut_off_and_are_no_longer_planned() -> None:
    given = make_settings(data="photos", mode=["finetune"], train_ratio=["0.1"], trials="3")
    first = [search_record(i, "finetune", 0.1, 0.5 + i, lr=0.01 + 0.01 * i) for i in range(2)]
    records, losses = [*first], {(9, seed): 0.1 for seed in range(2**10)}
    run_stage(given, records)
    run_stage(given, records)
    assert records[-1].kind == "confirm"
    records[-1].status = "interrupted"  # By the end of the time, which left out a trial.
    journal = Journal(cast(Results, None), Ledger(Path()), records)
    prepared: Any = SimpleNamespace(settings=given)
    assert _status(journal, prepared, left_out=True) == "out of time"
    records.append(search_record(9, "finetune", 0.1, 0.1, lr=0.05))
    journal.records = records
    finish(given, records, losses)
    assert [r.status for r in records if r.status != "done"] == ["interrupted"]
    assert _status(journal, prepared) == "done"


def test_a_resumed_study_that_another_run_has_gone_on_with_stays_as_it_is() -> None:
    folder = tiny_study().write(Path("runs/tiny"))
    state, before = read_state(folder), (folder / "study.json").read_text()
    nodes = SimpleNamespace(nodes=())
    prepared: Any = SimpleNamespace(state=state, settings=make_settings(), resources=nodes)
    prepared.folder = folder
    other = Ledger(folder)
    with pytest.raises(InputError, match=r"^another run of tiny is using runs/tiny$"):
        open_journal(prepared, NullSender(""))
    other.close("done", [])
    with pytest.raises(InputError, match=r"^runs/tiny: another run has gone on with it meanwhile"):
        open_journal(prepared, NullSender(""))
    assert (folder / "study.json").read_text() == before


@pytest.mark.integration
def test_a_study_leaves_its_tables_and_pages(finished_study: FinishedStudy) -> None:
    table = pd.read_csv(finished_study.folder / "trials.csv")
    assert table["trial"].tolist() == [0, 1, 2, 3, 4]
    assert set(zip(table["mode"], table["train_ratio"], strict=True)) == CELLS
    done = table[table["status"] == "done"]
    assert set(table["status"]) <= {"done", "pruned"}
    assert (done["epochs"] == 2).all()
    assert (table[table["mode"] == "freeze"]["status"] == "done").all()
    assert not any(name.startswith("test_") for name in table)

    best = read(finished_study.folder / "best.json")
    assert best["source"] in set(done["trial"])
    winner = read_records(finished_study.folder)[best["trial"]]
    assert (winner.kind, winner.value("val_log_loss")) == ("winner", best["value"])
    study = read(finished_study.folder / "study.json")
    assert study["status"] == "done"
    assert sum(study["trials"].values()) == 5
    assert {"label-efficiency.png", "trials.svg", "curves.svg", "confusion.png"} <= {
        file.name for file in (finished_study.folder / "figures").iterdir()
    }
    page = (finished_study.folder / "report.html").read_text()
    assert "confirmed" in page
    assert page.count("<section") == 7


KINDS = ["search"] * 5 + ["repeat"] * 2 + ["confirm"] * 4 + ["control", "winner"]
"""One of the four cells, a frozen one, had two trials: each is repeated on all seeds at once."""


@pytest.mark.integration
def test_a_study_confirms_its_winners_on_fresh_seeds(finished_study: FinishedStudy) -> None:
    records = read_records(finished_study.folder)
    assert [r.trial for r in records] == list(range(len(KINDS)))
    assert [r.kind for r in records] == KINDS
    confirming, (control, winner) = records[-6:-2], records[-2:]
    assert {(r.config.mode, r.config.train_ratio) for r in confirming} == CELLS
    assert all(r.test["test_accuracy"] <= 1 for r in records[-6:])
    assert not any(r.test for r in records[:-6])
    assert control.config.mode == "finetune"
    # It repeats its confirming trial, number for number.
    (same,) = (r for r in confirming if r.config == winner.config)
    assert (winner.test, winner.value("val_log_loss")) == (same.test, same.value("val_log_loss"))
    (photo,) = finished_study.photos.glob("cat/00.*")
    (seen,) = load_model(finished_study.folder / "winner").predict([photo])
    assert seen.class_name in ("cat", "dog")


@pytest.mark.integration
def test_a_study_prints_each_trial_the_best_and_the_answer(finished_study: FinishedStudy) -> None:
    printed = finished_study.printed
    assert "Traceback" not in finished_study.errors
    assert sum(line.startswith("trial ") for line in printed.splitlines()) == len(KINDS)
    assert "confirmed on fresh seeds: 5 done of 5 trials, 1 of them for the aux" in printed
    assert f"winner: trial {read(finished_study.folder / 'best.json')['trial']}: " in printed
    assert printed.count(TINY) >= 2  # In the answer, besides the introduction.
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in printed


@pytest.mark.integration
def test_a_study_is_tracked_whole(finished_study: FinishedStudy) -> None:
    client, folder = MlflowClient(finished_study.uri), finished_study.folder
    parent, *children = all_runs(client)
    splits = read(folder / "study.json")["splits"]
    assert parent.data.params["splits.train_0.2"] == splits["train_0.2"]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "study.json", "trials.csv", "best.json", "confirm.csv", "differences.csv", "recall.csv",
        "report.html",
        *(file.name for file in (folder / "figures").iterdir()),
    }  # fmt: skip
    table = pd.read_csv(folder / "trials.csv")
    best = table[table["status"] == "done"]["val_log_loss"].min()
    assert parent.data.metrics["search_best_val_log_loss"] == pytest.approx(best)
    winner = read(folder / "best.json")
    assert parent.data.tags["tl_study.winner_trial"] == str(winner["trial"])
    confirmed = pd.read_csv(folder / "confirm.csv")
    cell = [confirmed[name] == winner["config"][name] for name in ("mode", "train_ratio")]
    (tested,) = confirmed[cell[0] & cell[1]]["test_accuracy_mean"]
    assert parent.data.metrics["test_accuracy_mean"] == pytest.approx(tested)
    assert parent.data.metrics["winner_val_log_loss"] == pytest.approx(winner["value"])
    assert "\n\nTuning: " in parent.data.tags["mlflow.note.content"]
    numbers = [str(i) for i in range(len(KINDS))]
    assert [child.data.params["trial"] for child in children] == numbers
    kinds = [child.data.tags["tl_study.kind"] for child in children]
    assert kinds == ["trial" if kind == "search" else kind for kind in KINDS]
    for run, row in zip(children[:5], table.itertuples(), strict=True):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["tl_study.status"] == row.status
        assert run.data.params["mode"] == row.mode
        assert run.data.metrics["val_log_loss"] == pytest.approx(row.val_log_loss)
        history = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [m.step for m in history] == list(range(1, row.epochs + 1))
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert str(client.get_model_version_by_alias("mine", "best").version) == "1"


@pytest.mark.integration
def test_a_study_leaves_no_process(finished_study: FinishedStudy) -> None:
    assert finished_study.left_over == {}


@pytest.mark.integration
def test_study_with_diverging_trials_exits_with_3(
    ray_run: RayRun, photo_folder: Path, client: MlflowClient
) -> None:
    process = ray_run.start(
        "--data", photo_folder, *OWN_NET, "--lr", 1e-4, 1e30, 1e-3, "--train-ratio", 0.4,
        "--batch-size", 4, "--epochs", 1, "--min-steps", 0, "--trials", 3,
    )  # fmt: skip
    code, printed, errors = ray_run.finish(process)
    assert code == 3, printed + errors
    table = trials()
    failed = table[table["status"] == "failed"]
    assert len(table) == 3
    assert 0 < len(failed) < 3
    assert (table["lr"] == 1e30).tolist() == (table["status"] == "failed").tolist()
    assert failed["error"].str.contains(r"DivergedError: \w+ is (?:nan|inf) in epoch 1$").all()
    assert read(MINE / "study.json")["status"] == "some trials failed"
    assert read(MINE / "best.json")["config"]["lr"] < 1
    assert f"some trials failed: {3 - len(failed)} done, {len(failed)} failed of 3" in printed
    for run, row in zip(all_runs(client)[1:4], table.itertuples(), strict=True):
        assert run.info.status == ("FAILED" if row.status == "failed" else "FINISHED")
        assert run.data.tags.get("tl_study.error", "") == (
            row.error if row.status == "failed" else ""
        )


@pytest.mark.usefixtures("undrawn")
def test_a_study_of_frozen_modes_starts_no_ray_and_resumes_what_was_cut_off(
    run_alone: Run, photo_folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ray_is_up(*_: object) -> None:
        raise AssertionError("Ray has been started")

    monkeypatch.setattr("study.cluster.local_ray.local_ray", ray_is_up)
    words = (
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--mode", "freeze", "--train-ratio", 0.2, 0.4, "--epochs", 2, "--min-steps", 4,
        "--trials", 6, "--seeds", 2, "--confirm-seeds", 2, "--name", "mine", "--offline",
    )  # fmt: skip
    sweeps = iter([sweep])

    def interrupted(*given: Any) -> Any:
        if make := next(sweeps, None):
            return make(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "sweep", interrupted)
        assert run_alone(*words) == 130
    assert [r.status for r in read_records(MINE)] == ["done"] * 3 + ["interrupted"] * 3
    with monkeypatch.context() as patch:
        patch.setattr("study.execution.run_study.write_report", interrupted)
        assert run_alone("--resume", "mine") == 130
    assert read(MINE / "study.json")["status"] == read_state(MINE).status == "interrupted"
    assert run_alone("--resume", "mine") == 0
    assert read(MINE / "study.json")["status"] == read_state(MINE).status == "done"
    resumed = results(MINE)
    assert run_alone(*words[:-3], "--name", "whole", "--offline") == 0
    assert results(Path("runs/whole")) == resumed
    assert (MINE / "winner" / "model.json").is_file()
    assert not (MINE / "ray").exists()


@pytest.mark.parametrize(("begun", "then"), [
    (False, ""), (True, "interrupted; go on with: python study/run.py --resume mine\n"),
])  # fmt: skip
def test_a_full_disk_before_the_first_trial(
    begun: bool, then: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "cache/features")

    monkeypatch.setattr(run_study, "make_context", lambda _: None)
    monkeypatch.setattr(run_study, "with_features", full)
    monkeypatch.setattr(run_study, "close_sender", lambda *_, **__: None)
    monkeypatch.setattr(run_study, "print_link", lambda *_: None)
    if begun:
        MINE.mkdir(parents=True)
    settings, machine = make_settings(data="photos", name="mine"), SimpleNamespace(joined=False)
    prepared: Any = SimpleNamespace(settings=settings, folder=MINE, resources=machine)
    code = run_study.run_study(prepared, Console(soft_wrap=True), cast(Any, None))
    assert code == EXIT_CODES["disk full"] == 4
    why = "No space left on device: cache/features; what has ended is kept, make room"
    assert capsys.readouterr().out == f"{why}\n{then}"


def test_features_that_take_too_long_are_no_study_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = list[dict[str, bool]]()

    def late(*_: object) -> None:
        raise OutOfTimeError("more images to run over")

    monkeypatch.setattr(run_study, "make_context", lambda _: None)
    monkeypatch.setattr(run_study, "with_features", late)
    monkeypatch.setattr(run_study, "close_sender", lambda *_, **how: closed.append(how))
    settings, machine = make_settings(data="photos", name="mine"), SimpleNamespace(joined=False)
    prepared: Any = SimpleNamespace(settings=settings, folder=MINE, resources=machine)
    with pytest.raises(OutOfTimeError, match=r"^more images to run over$"):
        run_study.run_study(prepared, Console(), cast(Any, None))
    assert (capsys.readouterr(), MINE.exists()) == (("", ""), False)
    assert closed == [{"interrupted": True}]


def test_ray_is_not_started_without_a_loopback_address(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "Ray needs the loopback address 127.0.0.1: Network is unreachable"
    monkeypatch.setattr(run_study, "loopback_faults", lambda: iter([Fault(None, why)]))
    prepared: Any = SimpleNamespace(resources=SimpleNamespace(joined=False))
    with run_study._ray(prepared) as start, pytest.raises(NodeError, match=f"^{why}$"):
        start()
