"""Studies whose MLflow server dies, comes back, is slow, or has a password in its URI."""

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study import sync
from study.records.ledger import read_events, read_records
from study.records.study_folder import LEDGER
from study.tracking.sender import ProcessSender
from study.tracking.sync_state import events_left, read_sync_state
from tests.conftest import SIDE, TINY, draw_folder
from tests.support.mlflow_server import MlflowServer
from tests.support.slow_proxy import slow_proxy
from tests.support.studies.builders import all_runs, write_study
from tests.support.studies.ray_runs import RayRun
from tl_core.config import Mode

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
FOLDER = Path("runs/mine")
ENDS = {"done": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
LIMIT_S = 240
SECRET = "s3cr3t"
UNSENT = " events are not in MLflow yet ("
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def server(uri: str, tmp_path: Path) -> Iterator[MlflowServer]:
    with MlflowServer(uri, tmp_path) as server:
        yield server


@pytest.fixture
def start(ray_run: RayRun, tmp_path: Path, tiny_weights: Path) -> Start:
    """Start a study of frozen trials, which are over soon, or of networks, which Ray runs."""
    photos = draw_folder(tmp_path / "photos", ("cat", "dog"))

    def start_study(
        uri: str, trials: int, epochs: int = 60, mode: Mode = "freeze"
    ) -> "subprocess.Popen[str]":
        seeds = ("--seeds", 1) if mode == "freeze" else ()
        return ray_run.start(
            "--data", photos, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
            "--mode", mode, "--train-ratio", 0.8, "--batch-size", 1, *seeds, "--epochs", epochs,
            "--no-confirm", "--trials", trials, "--name", "mine", "--tracking-uri", uri,
        )  # fmt: skip

    return start_study


def n_ends() -> int:
    if not (FOLDER / LEDGER).exists():
        return 0
    return sum(event["event"] == "end" for event, _ in read_events(FOLDER / LEDGER))


def sent() -> int:
    """Bytes of the ledger that the store has."""
    state = read_sync_state(FOLDER)
    return state.sent if state else 0


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def assert_all_is_there_once(client: MlflowClient) -> None:
    """The store has each run, metric and step of the ledger, and nothing else."""
    records = read_records(FOLDER)
    parent, *children = all_runs(client)
    parents = [run.data.tags["mlflow.parentRunId"] for run in children]
    assert parents == [parent.info.run_id] * len(records)
    assert parent.info.status == "FINISHED"
    for record, run in zip(records, children, strict=True):
        assert run.data.params["trial"] == str(record.trial)
        assert run.info.status == ENDS[record.status]
        assert run.data.metrics.items() >= ({"wall_s": record.wall_s} | record.test).items()
        for name in {"val_log_loss", *run.data.metrics} - record.test.keys() - {"wall_s"}:
            history = client.get_metric_history(run.info.run_id, name)
            expected = [(m.epoch, m.plain()[name]) for m in record.history]
            assert [(m.step, m.value) for m in history] == expected


def test_a_server_that_is_restarted_and_then_killed_for_good(
    start: Start, ray_run: RayRun, server: MlflowServer, client: MlflowClient,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    trials = 30
    process = start(server.url, trials, epochs=30, mode="finetune")
    for restart in range(10):
        wait_until(lambda wanted=restart // 2 + 1: n_ends() >= wanted)  # type: ignore[misc]
        server.stop(signal.SIGKILL)
        server.start()
    wait_until(partial(lambda before: sent() > before, sent()))
    server.stop(signal.SIGKILL)
    assert process.poll() is None, "the study has ended too early"
    code, printed, errors = ray_run.finish(process)
    assert (code, "Traceback" in errors) == (0, False), printed + errors
    (warning,) = (line for line in printed.splitlines() if UNSENT in line)
    assert f"{UNSENT}MlflowException: " in warning
    assert warning.endswith(f"; python {sync.__file__} mine sends them")

    assert sync.main(["mine"]) == 2
    assert f"\n  --tracking-uri {server.url}: " in capsys.readouterr().err
    server.start()
    assert sync.main(["mine"]) == 0
    assert f"\ncompare trials: {server.url}/#/experiments/1/" in capsys.readouterr().out
    assert len(read_records(FOLDER)) == trials + 1
    assert_all_is_there_once(client)


def test_a_slow_server_delays_no_trial_and_can_be_left(
    start: Start, ray_run: RayRun, server: MlflowServer, client: MlflowClient
) -> None:
    with slow_proxy(server.url, delay_s=2) as proxy:
        process = start(proxy.url, 4)
        assert process.stdout
        for line in process.stdout:
            if line.startswith("files: "):
                break
        assert n_ends() == 5
        assert events_left(FOLDER) > 100  # So no trial has waited for the server.
        time.sleep(1)
        process.send_signal(signal.SIGTERM)  # As Ctrl-C, which background jobs may ignore.
        code, printed, errors = ray_run.finish(process)
        assert (code, "Traceback" in errors) == (0, False), printed + errors
        assert f"{UNSENT}interrupted); python {sync.__file__} mine sends them" in printed
        proxy.delay_s = 0
        assert sync.main(["mine"]) == 0
    assert_all_is_there_once(client)


def test_killed_processes_are_continued(server: MlflowServer, client: MlflowClient) -> None:
    with slow_proxy(server.url, delay_s=0.1) as proxy:
        write_study(FOLDER, proxy.url, trials=8)
        for calls in (4, 8, 12, 16, 20):  # While runs are created, written and ended.
            sender = ProcessSender(proxy.url, "tl-study")
            sender.wait_for_store()
            wanted = len(proxy.calls) + calls
            sender.follow(FOLDER)
            wait_until(partial(lambda n: len(proxy.calls) >= n, wanted))
            os.kill(sender._process.pid, signal.SIGKILL)
            assert sender.close() == "the process that writes to MLflow has died"
        proxy.delay_s = 0
        last = ProcessSender(proxy.url, "tl-study")
        last.wait_for_store()
        last.follow(FOLDER)
        # The study is killed: the system closes its pipes, and the process sends the rest.
        last._process.stdin.close()  # type: ignore[union-attr]
        assert last._process.wait(LIMIT_S) == 0
    assert_all_is_there_once(client)


def test_a_server_that_does_not_answer_any_more_is_given_up(
    server: MlflowServer, client: MlflowClient
) -> None:
    with slow_proxy(server.url, delay_s=0) as proxy:
        sender = ProcessSender(proxy.url, "tl-study")
        sender.wait_for_store()
        proxy.delay_s = 3 * LIMIT_S
        write_study(FOLDER, proxy.url)
        sender.follow(FOLDER)
        why = sender.close() or ""
        assert why.startswith("MlflowException: API request to http://127.0.0.1:")
        assert "Read timed out. (read timeout=10)" in why
        proxy.delay_s = 0
        assert sync.main(["mine"]) == 0
    assert_all_is_there_once(client)


def test_a_password_is_nowhere(
    start: Start, ray_run: RayRun, server: MlflowServer, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with slow_proxy(server.url, delay_s=0) as proxy:
        uri = proxy.url.replace("//", f"//user:{SECRET}@")
        process = start(uri, 4, epochs=20, mode="finetune")
        shown = itertools.chain.from_iterable(processes_until_trials_end(process, 3))
        assert {line.split()[0] for line in shown if SECRET in line} == {str(process.pid)}
        logs = read_all(ray_run.home)
        code, printed, errors = ray_run.finish(process)
        assert code == 0, printed + errors
        assert sync.main(["mine"]) == 0
        assert proxy.authorizations == {None, "Basic dXNlcjpzM2NyM3Q="}
    assert SECRET not in "".join([printed, errors, *capfd.readouterr()])
    files = read_all(tmp_path)
    assert tmp_path / "mlflow.db" in files
    assert any("gcs_server" in path.name for path in logs)
    assert [path for path, text in (logs | files).items() if SECRET.encode() in text] == []


def processes_until_trials_end(
    process: "subprocess.Popen[str]", trials: int
) -> Iterator[list[str]]:
    """What `ps` shows of all processes, again and again."""
    while n_ends() < trials:
        yield subprocess.check_output(["ps", "-ewwo", "pid=,args="], text=True).splitlines()
        assert process.poll() is None
        time.sleep(0.5)


def read_all(folder: Path) -> dict[Path, bytes]:
    """The content of each file that stays while it is read."""
    files = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                files[path] = path.read_bytes()
    return files
