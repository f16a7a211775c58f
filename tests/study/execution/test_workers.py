"""What Ray's workers give is what the same trials give alone, and frozen ones need not wait."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from study.cluster.stores import Folder
from study.execution.replay import differences
from study.execution.trial_context import TrialContext
from study.execution.worker import Reporter, run_in_worker
from study.records.ledger import read_records
from study.records.study_folder import LEDGER
from study.search.confirmation import Planned
from study.search.searcher import as_drawn
from tests.conftest import SIDE, TINY
from tests.soak.memory import Watch
from tests.soak.study import Follower
from tests.support.programs import waiting_study
from tests.support.studies.builders import make_config, make_epoch
from tests.support.studies.ray_runs import FinishedStudy, RayRun
from tl_core.config import MODES
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.training.train import run_trial


def test_epochs_that_come_fast_are_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, list[int]]] = []
    monkeypatch.setattr(
        "study.execution.worker.tune.report",
        lambda result: sent.append((result["epoch"], [e["epoch"] for e in result["epochs"]])),
    )
    reporter = Reporter("val_log_loss", every_s=3600)
    for epoch in (1, 2, 3):
        reporter.epoch(make_epoch(epoch))
    assert sent == []
    reporter.send()
    reporter.send()
    assert sent == [(3, [1, 2, 3])]
    at_once = Reporter("val_log_loss", every_s=0)
    at_once.epoch(make_epoch(4))
    at_once.send()
    assert sent[1:] == [(4, [4])]


def test_ray_hears_by_name_only_what_the_search_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("study.execution.worker.tune.report", sent.append)
    Reporter("val_accuracy", every_s=0).epoch(make_epoch(2, val_accuracy=0.5))
    (result,) = sent
    numbers = {name: value for name, value in result.items() if isinstance(value, int | float)}
    assert numbers == {"val_accuracy": 0.5, "epoch": 2}


def test_a_trial_reports_its_test_scores_and_keeps_the_winner_and_a_failure_is_no_exception(
    images: ImageSet,
    own_cache: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("study.execution.worker.tune.report", sent.append)
    monkeypatch.setattr("study.execution.worker.settle_worker", lambda _: torch.device("cpu"))
    name = images.path.relative_to(own_cache).as_posix()
    context = TrialContext(own_cache, name, Folder(tmp_path / "study"), "val_log_loss")
    config = make_config(
        mode="finetune", train_ratio=0.2, backbone=TINY, weights=str(tiny_weights), image_size=SIDE
    )
    run_in_worker(as_drawn(3, Planned(config, "confirm", 0, winner=True)), context)
    assert [e["epoch"] for result in sent for e in result["epochs"]] == [1, 2]
    assert 0 <= sent[-1]["test"]["test_accuracy"] <= 1
    assert (tmp_path / "study" / "winner" / "model.json").exists()
    diverges = config.model_copy(update={"lr": 1e30})
    run_in_worker(as_drawn(4, Planned(diverges)), context)
    assert sent[-1]["failure"].startswith("DivergedError: ")


@pytest.mark.integration
def test_frozen_trials_run_beside_networks_that_take_every_core(ray_run: RayRun) -> None:
    code, printed, errors = ray_run.finish(ray_run.start(program=waiting_study.__file__))
    assert code == 0, printed + errors
    assert ray_run.left_over(wait_s=20) == {}


def assert_same_alone(folder: Path, images: ImageSet, cache: Path) -> None:
    """Train the trials of a study again in this process: all numbers are the same."""
    weights = json.loads((folder / "study.json").read_text())["settings"]["weights"]
    for record in read_records(folder):
        config = record.config.model_copy(update={"weights": weights})
        alone = run_trial(config, images, cache, torch.device("cpu"), read_test=bool(record.test))
        again = list(alone.history[: len(record.history)])  # Some are stopped early.
        assert differences(record, again, alone.test) == {}, record


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
        "--mode", *MODES, "--train-ratio", 0.2, 0.8, "--epochs", 2, "--trials", 16,
        "--batch-size", 8, "--seeds", 3, "--name", "mine", "--hflip", "--no-confirm", "--offline",
    )  # fmt: skip
    code, printed, errors = ray_run.finish(process)
    assert code == 0, printed + errors
    images = load_images(folder_source(photo_folder), SIDE, own_cache)
    assert_same_alone(Path("runs/mine"), images, tmp_path / "other")


@pytest.mark.integration
def test_workers_keep_no_memory_of_trials_that_have_ended(
    ray_run: RayRun, photo_folder: Path
) -> None:
    process = ray_run.start(
        "--data", photo_folder, "--backbone", "mlp", "--mode", "scratch", "--image-size", SIDE,
        "--train-ratio", 0.8, "--epochs", 3, "--trials", 60, "--no-confirm", "--name", "mine",
        "--offline",
    )  # fmt: skip
    ended = Follower(Path("runs/mine") / LEDGER).ended
    with Watch(lambda: {"worker": ray_run.workers()}, ended) as watch:
        code, printed, errors = ray_run.finish(process)
    assert code == 0, printed + errors
    assert any(s.trials >= 40 for s in watch.samples)
    # With torch and Ray 640; what trials leave in a heap for each thread makes 2,500 of it.
    assert max(s.anon_mb for s in watch.samples) < 1200
