"""What Ray's workers give is what the same trials give alone, and no network waits."""

import gc
import json
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study.cluster.stores import Folder
from study.execution.replay import differences
from study.records.ledger import read_records
from study.records.outputs import read_outputs
from study.records.study_folder import LEDGER
from study.search.confirmation import Planned
from study.search.searcher import as_job
from study.trials.sweep import Swept
from study.trials.trial_context import TrialContext
from study.trials.worker import JobThread, Reporter, _slow_format, run_in_worker
from tests.conftest import SIDE, TINY
from tests.soak.memory import Watch
from tests.soak.study import Follower
from tests.support.programs import four_places
from tests.support.studies.builders import make_config, make_epoch
from tests.support.studies.ray_runs import FinishedStudy, RayRun
from tl_core.config import MODES, TrialConfig
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.training.steps.graphs import GRAPHS
from tl_core.training.train import run_trial

Sent = list[dict[str, Any]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What Ray Tune hears."""
    results = Sent()
    monkeypatch.setattr("study.trials.worker.tune.report", results.append)
    return results


def test_ray_hears_by_name_only_what_the_search_goes_by(sent: Sent) -> None:
    Reporter("val_accuracy").epoch(make_epoch(2, val_accuracy=0.5))
    (result,) = sent
    numbers = {name: value for name, value in result.items() if isinstance(value, int | float)}
    assert numbers == {"val_accuracy": 0.5, "epoch": 2}


def test_a_worker_asks_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    text = "this trial's GPU emulates bf16, which takes many times as long as fp16"
    assert _slow_format("bf16", torch.device("cuda")) == [text]
    assert _slow_format("fp16", torch.device("cuda")) == []
    assert _slow_format("bf16", torch.device("cpu")) == [], "it was said at the start"


@pytest.mark.parametrize("drawn", [
    as_job([Planned(make_config(mode="finetune"), trial=3)], ["2"]), {"batch": [], "retired": []},
])  # fmt: skip
def test_a_worker_whose_gpu_is_retired_waits_with_no_trial(
    drawn: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent()

    def report(result: dict[str, Any]) -> None:
        sent.append(result)
        if len(sent) == 3:
            raise SystemExit  # As Ray Tune does.

    monkeypatch.setattr("study.trials.worker.tune.report", report)
    monkeypatch.setattr("study.search.searcher.time.sleep", lambda _: None)
    monkeypatch.setattr("study.trials.worker.own_gpu", lambda: "2")
    context = TrialContext(tmp_path, "images/none", Folder(tmp_path), "val_log_loss")
    with pytest.raises(SystemExit):
        run_in_worker(drawn, context)
    assert sent == [{"waits": True, "gpu": "2"}] * 3


class Worker:
    """Runs jobs in this process."""

    def __init__(self, images: ImageSet, cache: Path, folder: Path, weights: Path) -> None:
        name = images.path.relative_to(cache).as_posix()
        self.images, self.context = (
            images,
            TrialContext(cache, name, Folder(folder), "val_log_loss"),
        )
        self._fixed = {"train_ratio": 0.2, "backbone": TINY, "image_size": SIDE, "min_steps": 4}
        self._fixed |= {"weights": str(weights)}

    def config(self, **given: Any) -> TrialConfig:
        """A configuration of its data."""
        return make_config(**self._fixed | given)

    def run(self, *batch: Planned) -> None:
        """Run a job."""
        run_in_worker(as_job(list(batch)), self.context)


@pytest.fixture
def worker(
    images: ImageSet, own_cache: Path, tiny_weights: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Worker:  # fmt: skip
    monkeypatch.setattr("study.trials.worker.settle_worker", lambda _: torch.device("cpu"))
    monkeypatch.setattr("study.trials.worker.own_gpu", lambda: None)
    return Worker(images, own_cache, tmp_path / "study", tiny_weights)


def test_a_cache_that_is_gone_is_no_fault_of_a_trial(worker: Worker, sent: Sent) -> None:
    worker.context = replace(worker.context, images="images/gone")
    worker.run(Planned(worker.config(mode="finetune"), trial=3))
    (result,) = sent
    about = worker.context.cache / "images" / "gone" / "about.json"
    assert result["node_fault"].startswith(f"{about} is gone, which all trials need; ")


def test_a_trial_reports_its_test_scores_and_keeps_the_winner_and_a_failure_is_no_exception(
    worker: Worker, sent: Sent, tmp_path: Path
) -> None:
    config = worker.config(mode="finetune")
    worker.run(Planned(config, "confirm", 0, winner=True, tests=True, trial=3))
    assert [e["epoch"] for result in sent for e in result["epochs"]] == [1, 2]
    scores, kept = sent[-1]["tested"]
    assert 0 <= scores["test_accuracy"] <= 1
    assert kept is None, "its confirming trial keeps them"
    assert (tmp_path / "study" / "winner" / "model.json").exists()
    worker.run(Planned(config, "confirm", 0, tests=True, trial=3))
    again, kept = sent[-1]["tested"]
    assert again == scores
    assert read_outputs(tmp_path / "study", 3, kept)
    worker.run(Planned(config.model_copy(update={"lr": 1e30}), trial=4))
    assert sent[-1]["failure"].startswith("DivergedError: ")
    assert sent[-1]["diverged"]


def test_a_process_that_can_not_use_its_gpu_any_more_reports_why_and_ends_before_the_next_job(
    worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    def end(code: int) -> None:
        ended.append(code)
        raise SystemExit

    ended, job = list[int](), Planned(worker.config(mode="finetune"), trial=3)
    monkeypatch.setattr("study.trials.worker._BROKEN", threading.Event())
    monkeypatch.setattr("study.trials.worker.own_gpu", lambda: "2")
    monkeypatch.setattr("study.trials.worker.os._exit", end)
    monkeypatch.setattr("study.trials.worker.is_in_use", lambda _: True)
    monkeypatch.setattr("study.trials.worker.synchronize", fail)
    worker.run(job)  # Nothing is raised: Ray Tune would not hear of the failure.
    assert [result["failure"] for result in sent] == [
        "RuntimeError: CUDA error: uncorrectable ECC error encountered"
    ]
    with pytest.raises(SystemExit):
        worker.run(job)
    assert (sent[1:], ended) == ([{"waits": True, "ends": True, "gpu": "2"}], [1])


def test_the_user_hears_that_steps_can_not_be_recorded(
    worker: Worker, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no permission")

    monkeypatch.setattr(GRAPHS, "_can_capture", lambda _: True)
    monkeypatch.setattr(GRAPHS, "_capture", fail)
    monkeypatch.setattr(GRAPHS, "_refused", [])
    worker.run(Planned(worker.config(mode="finetune"), trial=3))
    why = "launched one by one, as they can't be recorded as a graph: no permission"
    assert [r["warnings"] for r in sent if r["epochs"]] == [[f"training steps are {why}"], []]


def test_frozen_trials_of_a_job_are_sent_together(worker: Worker, sent: Sent) -> None:
    configs = [worker.config(lr=lr, seeds=2) for lr in (1e-3, 1e-2)]
    worker.run(*(Planned(config, trial=i) for i, config in enumerate(configs)))
    (result,) = sent
    found = [Swept.of(plain) for plain in result["swept"]]
    assert [(swept.trial, len(swept.epochs)) for swept in found] == [(0, 2), (1, 2)]
    alone = run_trial(configs[1], worker.images, worker.context.cache, torch.device("cpu"))
    assert found[1].epochs[-1].val_log_loss == pytest.approx(alone.history[-1].val_log_loss)


@pytest.mark.integration
def test_all_gpus_have_networks_while_frozen_trials_are_drawn_among_them(ray_run: RayRun) -> None:
    ray_run.succeed(ray_run.start(program=four_places.__file__))
    assert ray_run.left_over(wait_s=20) == {}


def assert_same_alone(folder: Path, images: ImageSet, cache: Path) -> None:
    """Train the trials of a study again in this process: all numbers are the same."""
    weights = json.loads((folder / "study.json").read_text())["settings"]["weights"]
    for record in read_records(folder):
        config = record.config.model_copy(update={"weights": weights})
        alone = run_trial(config, images, cache, torch.device("cpu"), read_test=bool(record.test))
        again = list(alone.history[: len(record.history)])  # Some are stopped early.
        assert differences(record, again, alone.test) == {}, record


@pytest.mark.integration
def test_workers_give_what_each_trial_gives_alone(
    finished_study: FinishedStudy, tmp_path: Path
) -> None:
    images = load_images(folder_source(finished_study.photos), SIDE, finished_study.home / "cache")
    assert_same_alone(finished_study.folder, images, tmp_path / "other")


@pytest.mark.integration
def test_they_do_so_in_every_mode_with_flipped_images(
    ray_run: RayRun, photo_folder: Path, tiny_weights: Path, own_cache: Path, tmp_path: Path
) -> None:
    process = ray_run.start(
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--mode", *MODES, "--train-ratio", 0.2, 0.8,
        "--epochs", 2, "--min-steps", 0, "--trials", 16,
        "--batch-size", 8, "--seeds", 3, "--name", "mine", "--hflip", "--no-confirm", "--offline",
    )  # fmt: skip
    ray_run.succeed(process)
    images = load_images(folder_source(photo_folder), SIDE, own_cache)
    assert_same_alone(Path("runs/mine"), images, tmp_path / "other")


@pytest.mark.integration
@pytest.mark.usefixtures("one_core")
def test_workers_keep_no_memory_of_trials_that_have_ended(
    ray_run: RayRun, photo_folder: Path
) -> None:
    process = ray_run.start(
        "--data", photo_folder, "--backbone", "mlp", "--mode", "scratch", "--image-size", 48,
        "--train-ratio", 0.8,
        "--epochs", 1, "--min-steps", 0, "--trials", 16, "--no-confirm", "--name", "mine",
        "--offline",
    )  # fmt: skip
    ended = Follower(Path("runs/mine") / LEDGER).ended
    with Watch(lambda: {"worker": ray_run.workers()}, ended) as watch:
        ray_run.succeed(process)
    assert any(s.trials >= 12 for s in watch.samples)
    # With torch and Ray 660; what trials leave in a heap for each thread makes 1,750 of it.
    assert max(s.anon_mb for s in watch.samples) < 1200


class Big:
    """Something that a job holds."""


def test_all_jobs_have_one_thread_and_one_that_fails_ends_none_of_the_others() -> None:
    jobs, seen = JobThread(), list[int]()

    def fail() -> None:
        raise ValueError("no image")

    jobs.run(lambda: seen.append(threading.get_ident()))
    with pytest.raises(ValueError, match="no image"):
        jobs.run(fail)
    with pytest.raises(SystemExit):
        jobs.run(lambda: sys.exit(0))
    jobs.run(lambda: seen.append(threading.get_ident()))
    assert seen[0] == seen[1] != threading.get_ident()


def test_what_a_job_held_is_free_after_it() -> None:
    jobs, held = JobThread(), list[weakref.ref[Big]]()

    def fail() -> None:
        big = Big()
        held.append(weakref.ref(big))
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        jobs.run(fail)
    jobs.run(lambda: None)
    gc.collect()
    assert held[0]() is None
