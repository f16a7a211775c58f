"""`python study/sync.py` on ledgers of studies that were offline, were killed, or still run."""

import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from rich.console import Console

from study import sync
from study.tracking.sync_state import SyncState, copy_fault, read_sync_state
from study.tracking.writer import MlflowWriter
from tests.support.models import make_model
from tests.support.studies.builders import all_runs, make_record, write_study
from tests.support.study_fixtures import Capture
from tl_core.errors import InputError
from tl_core.inference.model_card import WEIGHTS
from tl_core.inference.serialization import save_model

FOLDER = Path("runs/mine")


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    module = "study.tracking.sync_process"
    with patch(f"{module}._PAUSE_S", 0.01), patch(f"{module}._TIMEOUT_S", 0.05):
        yield


def send(uri: str) -> tuple[list[str], tuple[str, ...]]:
    """Send the study; return the printed lines and the faults."""
    text = io.StringIO()
    faults = sync.send(FOLDER, uri, Console(file=text, soft_wrap=True))
    return text.getvalue().splitlines(), tuple(map(str, faults))


@contextmanager
def broken(error: BaseException, after: int) -> Iterator[None]:
    """Have the writer fail once it has flushed some pieces of two events."""
    flush, calls = MlflowWriter.flush, itertools.count()

    def failing(writer: MlflowWriter, arrived: Callable[[], None]) -> None:
        if next(calls) >= after:
            raise error
        flush(writer, arrived)

    pieces = patch("study.tracking.sync_process._MAX_EVENTS", 2)
    with patch.object(MlflowWriter, "flush", failing), pieces:
        yield


def content(client: MlflowClient) -> list[Any]:
    """All runs of the store, with every metric at every step."""
    found = []
    for run in all_runs(client):
        history = [client.get_metric_history(run.info.run_id, m) for m in run.data.metrics]
        found.append((run.to_dictionary(), [[*map(vars, values)] for values in history]))
    return found


def test_an_offline_study_is_sent_once(uri: str, client: MlflowClient, capsys: Capture) -> None:
    write_study(FOLDER, uri)
    assert sync.main(["mine"]) == 0
    sent, *where = capsys.readouterr().out.splitlines()
    assert sent == "sent 8 events, of 2 trials"
    assert where[0].startswith("compare trials: ")
    once = content(client)
    assert [run["info"]["status"] for run, _ in once] == ["FINISHED"] * 3
    parent = client.get_run(once[0][0]["info"]["run_id"])
    assert f"viewStateShareKey={parent.info.run_id}" in where[1]
    assert parent.info.start_time <= parent.info.end_time

    assert sync.main([str(FOLDER.resolve())]) == 0  # By its folder.
    assert capsys.readouterr().out.splitlines()[0] == "nothing to send"
    SyncState("http://elsewhere", 9, {"study": "0123"}).save(
        FOLDER
    )  # As if another store got it in between.
    assert sync.main(["mine", "--out", "runs", "--tracking-uri", uri]) == 0
    sent, note, _, _ = capsys.readouterr().out.splitlines()
    assert sent == "sent 8 events, of 2 trials"
    moved = f"from now on this study's runs go to {uri}; those in http://elsewhere stay as they are"
    assert note == f"note: {moved}"
    assert content(client) == once


def test_a_moved_study_sends_its_files(uri: str, client: MlflowClient) -> None:
    ledger = write_study(FOLDER, uri, ended=False)
    names = ("report.html", "figures/a.svg", "figures/gone.svg")
    (FOLDER / "figures").mkdir()
    for name in names:
        (FOLDER / name).touch()
    save_model(FOLDER / "winner", make_model())
    ledger.end(make_record(1), [], FOLDER / "winner")
    ledger.close("done", [FOLDER / name for name in names])
    FOLDER.rename("copied")
    FOLDER.mkdir()
    Path("copied").rename(FOLDER / "here")
    (FOLDER / "here" / "figures" / "gone.svg").unlink()

    shown = io.StringIO()
    assert sync.send(FOLDER / "here", uri, Console(file=shown, soft_wrap=True)) == ()
    assert "note: 1 file can't be sent, as not in its folder: gone.svg\n" in shown.getvalue()
    parent = all_runs(client)[0].info.run_id
    assert [file.path for file in client.list_artifacts(parent)] == ["a.svg", "report.html"]
    assert client.get_model_version_by_alias("mine", "best").run_id == parent


def test_a_copy_changes_no_runs_of_the_original(uri: str, client: MlflowClient) -> None:
    write_study(FOLDER, uri)
    other = FOLDER.with_name("copy")
    shutil.copytree(FOLDER, other)
    shown = io.StringIO()
    console = Console(file=shown, soft_wrap=True)
    assert copy_fault(other, uri) is None, "nothing was sent"
    send(uri)
    once = content(client)
    shutil.rmtree(other)
    shutil.copytree(FOLDER, other)
    why = (
        f"it is a copy of {FOLDER.resolve()}, whose runs in MLflow it would change; "
        "another store keeps them apart, as --tracking-uri sqlite:///copy.db"
    )
    with pytest.raises(InputError, match=f"^runs/copy: {why}$"):
        sync.send(other, uri, console)
    assert content(client) == once
    Path("linked").symlink_to(FOLDER.resolve())
    assert copy_fault(Path("linked"), uri) is None
    state = (FOLDER / "mlflow.json").read_text()
    (FOLDER / "mlflow.json").write_text("[]")
    assert copy_fault(other, uri) is None, "a damaged one is no original"
    (FOLDER / "mlflow.json").write_text(state)
    assert sync.send(other, uri.replace("mlflow.db", "copy.db"), console) == ()
    assert shown.getvalue().startswith("sent 8 events, of 2 trials\n")
    FOLDER.rename("moved")
    assert copy_fault(Path("moved"), uri) is None


def test_a_study_of_somebody_else_has_no_file_of_this_machine_sent(
    uri: str, client: MlflowClient
) -> None:
    ledger = write_study(FOLDER, uri, ended=False)
    Path("key.txt").write_text("private")
    save_model(FOLDER / "winner", make_model())
    (FOLDER / "winner" / WEIGHTS).unlink()
    (FOLDER / "winner" / WEIGHTS).symlink_to(Path("key.txt").resolve())
    ledger.end(make_record(1), [Path("key.txt")], FOLDER / "winner")
    ledger.close("done", [])
    printed, faults = send(uri)
    assert faults == ()
    assert printed[1] == "note: 2 files can't be sent, as not in its folder: key.txt, winner"
    for run in all_runs(client):
        assert client.list_artifacts(run.info.run_id) == []
    assert client.search_registered_models() == []


@pytest.mark.parametrize(("sent", "kept"), [
    (False, "sqlite:///GONE/mlflow.db"), (True, "sqlite:///GONE/mlflow.db"),
    (True, "file://GONE/mlflow.db"),
])  # fmt: skip
def test_a_store_whose_folder_is_gone_is_not_made_again(
    sent: bool, kept: str, uri: str, own_folder: Path, capsys: Capture
) -> None:
    gone = own_folder / "gone"
    store = kept.replace("GONE", str(gone))
    write_study(FOLDER, uri if sent else store)
    if sent:
        SyncState(store).save(FOLDER)
    assert sync.main(["mine"]) == 2
    assert capsys.readouterr().err == (
        f"error: not everything could be sent\n  {gone} is not there, in which this study has its"
        " store, mlflow.db; name another: --tracking-uri sqlite:///mlflow.db\n"
    )
    assert not gone.exists()
    assert sync.main(["mine", "--tracking-uri", uri]) == 0  # The way out.


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["a", "b"], "this command takes one study, and was given 2: a, b"),
        (["a", "b", "--ot", "c"], "unrecognized arguments: b --ot c (did you mean --out?)"),
    ],
)
def test_several_studies_are_refused(words: list[str], error: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        sync.main(words)
    assert capsys.readouterr().err == f"error: {error}; --help lists all flags\n"


def test_a_study_is_sent_to_its_own_experiment(
    uri: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(FOLDER, uri, experiment="cats")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "dogs")
    assert send(uri)[0][0] == "sent 8 events, of 2 trials"
    cats = client.get_experiment_by_name("cats")
    assert cats
    assert len(client.search_runs([cats.experiment_id])) == 3
    assert client.get_experiment_by_name("dogs") is None


def test_lost_runs_are_made_again(uri: str, client: MlflowClient, blank_store: Path) -> None:
    write_study(FOLDER, uri)
    send(uri)
    parent, first, second = all_runs(client)
    assert send(uri)[0][0] == "nothing to send"
    for run in (parent, first):
        client.delete_run(run.info.run_id)
    shown, faults = send(uri)
    assert shown[:2] == [
        f"{uri} has lost 2 runs of this study, made again from the ledger",
        "sent 8 events, of 2 trials",
    ]
    assert faults == ()
    new_parent, *trials = all_runs(client)
    assert trials[1].info.run_id == second.info.run_id
    parents = {trial.data.tags["mlflow.parentRunId"] for trial in trials}
    assert parents == {new_parent.info.run_id} != {parent.info.run_id}
    assert {run.info.status for run in (new_parent, *trials)} == {"FINISHED"}

    shutil.copy(blank_store, "other.db")  # As if the file had been replaced.
    other = uri.replace("mlflow.db", "other.db")
    state = read_sync_state(FOLDER)
    assert state
    replace(state, store=other).save(FOLDER)
    assert send(other)[0][0] == f"{other} has lost 3 runs of this study, made again from the ledger"
    assert len(all_runs(MlflowClient(other))) == 3
    assert send(other)[0][0] == "nothing to send"


def test_a_winner_that_is_refused_keeps_nothing_else_from_the_store(
    uri: str, client: MlflowClient
) -> None:
    ledger = write_study(FOLDER, uri, ended=False)
    save_model(FOLDER / "winner", make_model())
    ledger.end(make_record(1), [], FOLDER / "winner")
    ledger.close("done", [])
    denied = MlflowException("not yours", PERMISSION_DENIED)
    with patch.object(MlflowClient, "create_model_version", side_effect=denied):
        printed, faults = send(uri)
    assert printed[:2] == [
        "sent 8 events, of 2 trials", "note: MLflow has not registered the winner (not yours)",
    ]  # fmt: skip
    assert faults == ()
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"] * 3


def test_a_store_that_fails_while_runs_are_looked_for(uri: str) -> None:
    write_study(FOLDER, uri)
    send(uri)
    with patch.object(MlflowWriter, "lost_runs", side_effect=OSError("gone")):
        assert send(uri)[1] == (f"--tracking-uri {uri}: gone",)
    assert send(uri)[0][0] == "nothing to send"  # The ledger is not locked.


def test_faults_are_printed_together(uri: str, nobody: str, capsys: Capture) -> None:
    write_study(FOLDER, uri)
    assert sync.main(["yours"]) == 2
    assert capsys.readouterr().err == (
        "error: not everything could be sent\n"
        "  no study yours in runs/; there are: mine; --out names its folder\n"
    )
    with broken(KeyboardInterrupt(), after=2):
        assert sync.main(["mine"]) == 130
    printed = capsys.readouterr()
    assert printed.out == "sent 4 events, of 1 trial; 4 events left\n"
    assert printed.err == "interrupted; the same command sends the rest\n"
    with pytest.raises(InputError, match="Connection refused; unsent events stay in the ledger"):
        send(nobody)
    busy = pytest.raises(InputError, match="the ledger in runs/mine is being sent to MLflow by ano")
    with FileLock(FOLDER / ".mlflow.lock"), busy:
        send(uri)
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with patch("study.tracking.sync_process._MAX_EVENTS", 3):
        assert sync.send(FOLDER, uri, console) == ()
    assert "4/4" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_study_that_has_not_ended_is_running_until_it_has(uri: str, client: MlflowClient) -> None:
    ledger = write_study(FOLDER, uri, ended=False)
    (sent, note, *_), _ = send(uri)
    assert sent == "sent 6 events, of 2 trials"
    assert note == "note: not ended, so RUNNING in MLflow: the study, trial 1"
    assert [run.info.status for run in all_runs(client)] == ["RUNNING", "FINISHED", "RUNNING"]
    ledger.end(make_record(1), [])
    ledger.close("done", [])
    (sent, link, *_), _ = send(uri)
    assert (sent, link[:16]) == ("sent 2 events, of 1 trial", "compare trials: ")
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"] * 3


def test_a_store_that_fails_on_the_way(uri: str, client: MlflowClient) -> None:
    """It gets the rest later; a run whose first request lost its answer is one in the end."""
    write_study(FOLDER, uri)
    create = MlflowClient.create_run

    def twice(self: MlflowClient, *args: Any) -> Any:
        create(self, *args)
        return create(self, *args)

    with patch.object(MlflowClient, "create_run", twice):
        with broken(OSError("gone"), after=2):
            printed, faults = send(uri)
        assert printed == ["sent 4 events, of 1 trial; 4 events left"]
        assert faults == (f"--tracking-uri {uri}: OSError: gone",)
        printed, faults = send(uri)
    assert (printed[0], faults) == ("sent 4 events, of 1 trial", ())
    runs = [(run.data.tags["tl_study.key"], run.info.status) for run in all_runs(client)]
    assert runs == [(f"0123/{key}", "FINISHED") for key in ("study", "0", "1")]


def test_a_silent_database_is_told_in_time(uri: str, capsys: Capture) -> None:
    write_study(FOLDER, uri)
    why = InputError(["postgresql://db/runs: no answer in 10 s; unsent events stay in the ledger"])
    with patch("study.sync.check_database", side_effect=why) as check:
        assert sync.main(["mine", "--tracking-uri", "postgresql://me:secret@db/runs"]) == 2
    check.assert_called_once_with(
        "postgresql://me:secret@db/runs", "tl-study", "unsent events stay in the ledger"
    )
    assert "runs: no answer in 10 s; unsent events stay" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "shown"), [
    ("/photos/\xe4", "/photos/\xe4"), ("postgresql://me:s3cret@db/\xe4", "postgresql://db/\xe4"),
])  # fmt: skip
def test_a_path_that_this_locale_can_not_have(
    given: str, shown: str, uri: str, capsys: Capture
) -> None:
    write_study(FOLDER, uri)
    error = UnicodeEncodeError("ascii", given, 8, 9, "ordinal not in range(128)")
    for name in ("store_faults", "with_credentials"):
        with patch(f"study.sync.{name}", side_effect=error):
            assert sync.main(["mine"]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told == f"  {shown}: is not text in this system's encoding; set LANG=C.UTF-8"
    # Another text that can't be encoded is no path.
    with patch("study.sync.where_to_look", side_effect=error), pytest.raises(UnicodeEncodeError):
        sync.main(["mine"])
