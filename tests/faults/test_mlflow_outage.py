"""Studies whose MLflow server dies, comes back, crawls, or is told of with a password."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study import sync
from study.records.ledger import read_events, read_records
from study.records.study_folder import LEDGER
from study.tracking.sender import ProcessSender
from tests.conftest import SIDE, TINY, draw_folder
from tests.support.mlflow_server import MlflowServer
from tests.support.slow_proxy import slow_proxy
from tests.support.studies.builders import all_runs, write_study
from tests.support.studies.ray_runs import RayRun, ray_runs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
FOLDER = Path("runs/mine")
ENDS = {"done": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
LIMIT_S = 240
SECRET = "s3cr3t"
UNSENT = " events are not in MLflow yet ("
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def ray_run() -> Iterator[RayRun]:
    with ray_runs() as runs:
        yield runs


@pytest.fixture
def server(uri: str, tmp_path: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(uri, tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def start(ray_run: RayRun, photo_folder: Path, tiny_weights: Path) -> Start:
    """Start a study of frozen trials of a second or so each."""

    def start_study(uri: str, trials: int, *words: object) -> "subprocess.Popen[str]":
        return ray_run.start(
            "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights,
            "--image-size", SIDE, "--mode", "freeze", "--train-ratio", 0.8, "--batch-size", 1,
            "--seeds", 1, "--epochs", 60, "--no-confirm", "--trials", trials, "--name", FOLDER.name,
            "--tracking-uri", uri, *words,
        )  # fmt: skip

    return start_study


def run_sync(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, sync.__file__, FOLDER.name, *words]
    own = {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=os.environ | own
    )


def wait_for_ends(process: "subprocess.Popen[str]", trials: int) -> None:
    """Wait until so many trials have ended, in a study that goes on."""
    wait_until(lambda: (FOLDER / LEDGER).exists() and n_ends() >= trials)
    assert process.poll() is None, "the study has ended too early"


def n_ends() -> int:
    return sum(event["event"] == "end" for event, _ in read_events(FOLDER / LEDGER))


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def assert_all_is_there_once(client: MlflowClient, folder: Path = FOLDER) -> None:
    """Hold the store against the ledger: each run, each metric, each step, and nothing else."""
    records = read_records(folder)
    parent, *children = all_runs(client)
    assert [run.data.tags["mlflow.parentRunId"] for run in children] == (
        [parent.info.run_id] * len(records)
    )
    assert parent.info.status == "FINISHED"
    for record, run in zip(records, children, strict=True):
        assert run.data.params["trial"] == str(record.trial)
        assert run.info.status == ENDS[record.status]
        told = client.get_metric_history(run.info.run_id, "val_log_loss")
        assert [(m.step, m.value) for m in told] == (
            [(m.epoch, m.val_log_loss) for m in record.history]
        )
        for name in run.data.metrics.keys() - record.test.keys() - {"wall_s", "val_log_loss"}:
            values = [getattr(m, name) for m in record.history]
            assert [m.value for m in client.get_metric_history(run.info.run_id, name)] == values
        assert run.data.metrics["wall_s"] == record.wall_s
        assert run.data.metrics.items() >= record.test.items()


def test_a_server_that_never_comes_back_is_left_to_sync(
    start: Start, ray_run: RayRun, server: MlflowServer, client: MlflowClient
) -> None:
    process = start(server.url, 6)
    wait_for_ends(process, 1)
    server.stop(signal.SIGKILL)
    code, printed, told = ray_run.finish(process)
    assert (code, "Traceback" in told) == (0, False), printed + told
    (warning,) = (line for line in printed.splitlines() if UNSENT in line)
    assert f"{UNSENT}MlflowException: " in warning
    assert warning.endswith("; python study/sync.py mine sends them")

    failed = run_sync()
    assert (failed.returncode, failed.stdout) == (2, "")
    assert f"\n  --tracking-uri {server.url}: " in failed.stderr
    server.start()
    done = run_sync()
    assert (done.returncode, done.stderr) == (0, ""), done
    assert f"\ncompare trials: {server.url}/#/experiments/1/" in done.stdout
    assert_all_is_there_once(client)


def test_a_server_that_is_restarted_ten_times_in_thirty_trials(
    start: Start, ray_run: RayRun, server: MlflowServer, client: MlflowClient, tmp_path: Path
) -> None:
    more = draw_folder(tmp_path / "more", ("cat", "dog"), n_images=32)  # For longer trials.
    process = start(server.url, 30, "--data", more, "--epochs", 200)
    for restart in range(10):
        wait_for_ends(process, restart // 2)
        server.stop(signal.SIGKILL)
        server.start()
    assert process.poll() is None
    code, printed, told = ray_run.finish(process)
    assert (code, "Traceback" in told) == (0, False), printed + told
    if UNSENT in printed:
        assert run_sync().returncode == 0
    assert len(read_records(FOLDER)) == 31
    assert_all_is_there_once(client)


def test_a_slow_server_slows_no_trial_and_need_not_be_waited_for(
    start: Start, ray_run: RayRun, server: MlflowServer, client: MlflowClient, tmp_path: Path
) -> None:
    def took_s() -> float:
        events = [event for event, _ in read_events(FOLDER / LEDGER)]
        begun = [event["at"] for event in events if event["event"] == "start"]
        ended = [event["at"] for event in events if event["event"] == "end"]
        return float(max(ended) - min(begun))

    code, *_ = ray_run.finish(start("sqlite:///fast.db", 8))
    assert code == 0
    fast_s = took_s()
    FOLDER.rename(tmp_path / "fast")
    with slow_proxy(server.url, delay_s=2) as proxy:
        process = start(proxy.url, 8)
        assert process.stdout
        for line in process.stdout:
            if line.startswith("files: "):
                break
        # To be told of nine trials takes 40 calls, more than a minute.
        assert took_s() < 2 * fast_s + 10
        time.sleep(1)
        process.send_signal(signal.SIGTERM)  # As Ctrl-C, which background jobs may not hear.
        code, printed, told = ray_run.finish(process)
        assert (code, "Traceback" in told) == (0, False), printed + told
        assert f"{UNSENT}interrupted); python study/sync.py mine sends them" in printed
        proxy.delay_s = 0
        assert run_sync().returncode == 0
    assert_all_is_there_once(client)


def test_deliveries_that_are_killed_are_gone_on_with(
    server: MlflowServer, client: MlflowClient
) -> None:
    with slow_proxy(server.url, delay_s=0.1) as proxy:
        write_study(FOLDER, proxy.url, trials=8)
        for calls in (4, 8, 12, 16, 20):  # While runs are made, told of, and ended.
            sender = ProcessSender(proxy.url)
            sender.wait_for_store()
            before = len(proxy.calls)
            sender.follow(FOLDER)
            wait_until(partial(enough, proxy.calls, before + calls))
            os.kill(sender._process.pid, signal.SIGKILL)
            assert sender.close() == "the process that writes to MLflow has died"
        proxy.delay_s = 0
        assert run_sync().returncode == 0
    assert_all_is_there_once(client)


def enough(calls: list[str], wanted: int) -> bool:
    return len(calls) >= wanted


def test_a_server_that_falls_silent_is_given_up(server: MlflowServer, client: MlflowClient) -> None:
    with slow_proxy(server.url, delay_s=0) as proxy:
        sender = ProcessSender(proxy.url)
        sender.wait_for_store()
        proxy.delay_s = 3 * LIMIT_S
        write_study(FOLDER, proxy.url)
        sender.follow(FOLDER)
        why = sender.close()
        assert why
        assert why.startswith("MlflowException: API request to http://127.0.0.1:")
        assert "Read timed out. (read timeout=10)" in why
        proxy.delay_s = 0
        assert run_sync().returncode == 0
    assert_all_is_there_once(client)


def test_the_delivery_of_a_driver_that_is_killed_sends_the_rest(
    server: MlflowServer, client: MlflowClient
) -> None:
    write_study(FOLDER, server.url)
    sender = ProcessSender(server.url)
    sender.wait_for_store()
    sender.follow(FOLDER)
    sender._process.stdin.close()  # type: ignore[union-attr]  # As the system does for the dead.
    assert sender._process.wait(LIMIT_S) == 0
    assert_all_is_there_once(client)


def test_a_password_is_nowhere(
    start: Start, ray_run: RayRun, server: MlflowServer, tmp_path: Path
) -> None:
    with slow_proxy(server.url, delay_s=0) as proxy:
        process = start(proxy.url.replace("//", f"//user:{SECRET}@"), 4)
        seen = itertools.chain.from_iterable(processes_until_trials_end(process, 3))
        assert {pid for pid, args in seen if SECRET in args} == {process.pid}
        logs = read_all(ray_run.home)
        code, printed, told = ray_run.finish(process)
        assert code == 0, printed + told
        done = run_sync()
        assert proxy.authorizations == {None, "Basic dXNlcjpzM2NyM3Q="}
    assert done.returncode == 0
    assert SECRET not in printed + told + done.stdout + done.stderr
    files = read_all(tmp_path)
    assert tmp_path / "mlflow.db" in files
    assert any("gcs_server" in path.name for path in logs)
    assert [path for path, text in (logs | files).items() if SECRET.encode() in text] == []


def processes_until_trials_end(
    process: "subprocess.Popen[str]", trials: int
) -> Iterator[list[tuple[int, str]]]:
    """What `ps` shows of all processes meanwhile."""
    while not (FOLDER / LEDGER).exists() or n_ends() < trials:
        lines = subprocess.check_output(["ps", "-ewwo", "pid=,args="], text=True).splitlines()
        yield [(int(line.split()[0]), line) for line in lines]
        assert process.poll() is None
        time.sleep(0.5)


def read_all(folder: Path) -> dict[Path, bytes]:
    """The content of each file that stays while it is read."""
    files = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                files[path] = path.read_bytes()
    return files
