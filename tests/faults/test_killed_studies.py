"""Studies that are killed, stopped and resumed, on a real Ray."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from study import run as study_command
from study.records.ledger import read_events, read_records, read_state
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import all_runs
from tests.support.studies.ray_runs import RayRun, results
from tl_core.files import LocalFile
from tl_core.training.checkpoints import load_checkpoint

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
LEDGER = Path("runs/mine/ledger.jsonl")
Study = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def study(ray_run: RayRun, uri: str, photo_folder: Path, tiny_weights: Path) -> Study:
    """Start a study of a small network."""

    def start(*words: object) -> "subprocess.Popen[str]":
        return ray_run.start(
            "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size",
            SIDE, "--train-ratio", 0.2, 0.8, "--checkpoint-every", 0,
            "--epochs", 12, "--min-steps", 0, "--confirm-seeds", 1, "--name", "mine",
            "--tracking-uri", uri, *words,
        )  # fmt: skip

    return start


def events() -> list[dict[str, Any]]:
    return [event for event, _ in read_events(LEDGER)] if LEDGER.exists() else []


def wait_for(wanted: Callable[[list[dict[str, Any]]], bool], patience_s: float = 300) -> None:
    end = time.monotonic() + patience_s
    while not wanted(events()):
        assert time.monotonic() < end, f"not seen in {patience_s} s: {events()[-3:]}"
        time.sleep(0.02)


def epochs(number: int) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether the ledger has this many epochs."""
    return lambda found: sum(e["event"] == "epoch" for e in found) >= number


def learning(found: list[dict[str, Any]]) -> bool:
    """Whether a network has learned for a while, and goes on."""
    there = read_records(LEDGER.parent) if found else []
    nets = [r for r in there if r.status == "running" and r.config.mode != "freeze"]
    return any(5 <= len(r.history) <= 20 for r in nets)


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def assert_tracked(client: MlflowClient) -> None:
    """One run a trial and none besides, each ended, with every metric at every step, once."""
    parent, *children = all_runs(client)
    records = read_records(LEDGER.parent)
    assert [int(run.data.params["trial"]) for run in children] == [r.trial for r in records]
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    for run, record in zip(children, records, strict=True):
        for name in ("train_loss", "val_log_loss", "val_accuracy"):
            logged = client.get_metric_history(run.info.run_id, name)
            assert [m.step for m in logged] == list(range(1, len(record.history) + 1))
            assert [m.value for m in logged] == [getattr(m, name) for m in record.history]


@pytest.mark.ci
@pytest.mark.usefixtures("one_core")
def test_a_study_that_is_killed_twice_has_the_results_of_a_whole_one(
    ray_run: RayRun, study: Study, uri: str, client: MlflowClient
) -> None:
    words = (
        "--mode", "finetune", "lp_ft", "--train-ratio", 0.2, "--trials", 3, "--epochs", 8,
        "--min-steps", 0,
    )  # fmt: skip
    ray_run.succeed(study(*words, "--out", "whole", "--offline"))
    process = study(*words)
    for number in (5, 30):  # In trial 0 of the search, and in trial 3, which follows it.
        wait_for(epochs(number))
        kill(process)
        for record in read_records(LEDGER.parent):
            if 0 < len(record.history) < 8 and record.status == "running":
                kept = LEDGER.parent / "checkpoints" / f"{record.trial}.ckpt"
                left = load_checkpoint(LocalFile(kept))
                assert left["history"] or left["part"]["steps"]
        process = ray_run.start("--resume", "mine", "--tracking-uri", uri)
    ray_run.succeed(process)
    assert results(Path("whole/mine")) == results(LEDGER.parent)
    ends = [e["trial"] for e in events() if e["event"] == "end" and e["status"] != "interrupted"]
    assert len(ends) == len(set(ends))
    assert_tracked(client)
    assert list((LEDGER.parent / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(("stop", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_stop_is_in_time_and_can_be_resumed(
    ray_run: RayRun, study: Study, uri: str, client: MlflowClient, stop: signal.Signals, group: bool
) -> None:
    process = study("--mode", "freeze", "finetune", "--trials", 5, "--epochs", 30, "--min-steps", 0)
    wait_for(learning)
    start = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, stop)
    printed, errors = process.communicate(timeout=60)
    took = time.monotonic() - start
    assert process.returncode == 130, printed + errors
    assert took < 15
    assert f"interrupted; go on with: python {study_command.__file__} --resume mine" in printed
    assert "Traceback" not in errors
    state = read_state(LEDGER.parent)
    assert state.status == "interrupted"
    assert "running" not in {r.status for r in state.trials}
    assert "interrupted" in {r.status for r in state.trials}
    assert ray_run.left_over(wait_s=20) == {}
    assert {run.info.status for run in all_runs(client)} <= {"KILLED", "FINISHED"}
    ray_run.succeed(ray_run.start("--resume", "mine", "--tracking-uri", uri))
    assert_tracked(client)


def test_a_second_ctrl_c_stops_at_once(
    ray_run: RayRun, study: Study, uri: str, client: MlflowClient
) -> None:
    process = study("--mode", "finetune", "--trials", 3, "--epochs", 30, "--min-steps", 0)
    wait_for(epochs(10))
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert time.monotonic() - start < 4  # Not the time that it takes to end in order.
    # What sends to MLflow does so to the end, after all others.
    assert ray_run.left_over(wait_s=60) == {}
    ray_run.succeed(ray_run.start("--resume", "mine", "--tracking-uri", uri))
    assert_tracked(client)


def test_a_worker_that_is_killed_is_replaced_and_the_trial_goes_on(
    ray_run: RayRun, study: Study, client: MlflowClient
) -> None:
    process = study("--mode", "finetune", "--trials", 3, "--epochs", 30, "--min-steps", 0)
    wait_for(epochs(20))
    workers = ray_run.workers()
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    ray_run.succeed(process)
    warned = [e for e in events() if e["event"] == "warning"]
    assert 1 <= len(warned) <= len(workers)
    assert all(
        "worker died" in e["text"] and "another worker continues" in e["text"] for e in warned
    )
    assert {r.status for r in read_records(LEDGER.parent)} <= {"done", "pruned"}
    assert_tracked(client)


@pytest.mark.usefixtures("one_core")
def test_a_worker_that_always_dies_fails_alone(ray_run: RayRun, study: Study) -> None:
    process = study(
        "--mode", "finetune", "--trials", 3, "--epochs", 30, "--min-steps", 0, "--max-failures", 1
    )
    wait_for(epochs(5))
    doomed = next(e["trial"] for e in events() if e["event"] == "epoch")
    died: set[int] = set()
    while process.poll() is None and read_state(LEDGER.parent).records[doomed].status == "running":
        for worker in ray_run.workers():
            died.add(worker)
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.2)
    code, printed, errors = ray_run.finish(process)
    assert code == 3, printed + errors
    records = read_records(LEDGER.parent)
    assert [r.trial for r in records if r.status == "failed"] == [doomed]
    assert "worker died" in str(records[doomed].error)
    assert "died" in (LEDGER.parent / "failures" / f"{doomed}.txt").read_text()
    assert len(died) >= 2
