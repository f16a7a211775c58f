"""What Ray's workers give is what the same trials give alone, and frozen ones need not wait."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from study.execution.worker import Reporter
from study.records.study_folder import LEDGER
from tests.conftest import SIDE, TINY
from tests.soak.memory import Watch
from tests.soak.study import Follower
from tests.support.programs import waiting_study
from tests.support.studies.builders import make_epoch
from tests.support.studies.ray_runs import RayRun
from tl_core.config import MODES, TrialConfig
from tl_core.data.datasets import load_images
from tl_core.data.sources import folder_source
from tl_core.models.precision import best_precision
from tl_core.training.train import run_trial


def test_epochs_that_come_fast_are_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, list[int]]] = []
    monkeypatch.setattr(
        "study.execution.worker.tune.report",
        lambda told: sent.append((told["epoch"], [e["epoch"] for e in told["epochs"]])),
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
    (told,) = sent
    numbers = {name: value for name, value in told.items() if isinstance(value, int | float)}
    assert numbers == {"val_accuracy": 0.5, "epoch": 2}


@pytest.mark.integration
def test_frozen_trials_run_beside_networks_that_take_every_core(ray_run: RayRun) -> None:
    code, printed, told = ray_run.finish(ray_run.start(program=waiting_study.__file__))
    assert code == 0, printed + told
    assert ray_run.left_over(wait_s=20) == {}


@pytest.mark.integration
@pytest.mark.parametrize("hflip", [False, True])
def test_warm_workers_give_what_each_trial_gives_alone(
    ray_run: RayRun,
    photo_folder: Path,
    tiny_weights: Path,
    own_cache: Path,
    uri: str,
    tmp_path: Path,
    hflip: bool,
) -> None:
    process = ray_run.start(
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--mode", *MODES, "--train-ratio", 0.2, 0.8, "--epochs", 2, "--trials", 16,
        "--batch-size", 8, "--seeds", 3, "--name", "mine", *(["--hflip"] if hflip else []),
    )  # fmt: skip
    code, printed, told = ray_run.finish(process)
    assert code == 0, printed + told
    table = pd.read_csv("runs/mine/trials.csv")
    images = load_images(folder_source(photo_folder), SIDE, own_cache)
    for row in table.itertuples():
        config = TrialConfig(
            mode=row.mode, train_ratio=row.train_ratio, lr=row.lr, aux_weight=row.aux_weight,
            seeds=row.seeds, seed=row.seed, backbone=TINY, weights=str(tiny_weights),
            image_size=SIDE, epochs=row.epochs, batch_size=8, hflip=hflip,
            precision=best_precision(torch.device("cpu")),
        )  # fmt: skip
        alone = run_trial(config, images, tmp_path / "other", torch.device("cpu"))
        assert alone.history[-1].val_log_loss == row.val_log_loss, row
        assert alone.history[-1].train_loss == row.train_loss, row


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
        code, printed, told = ray_run.finish(process)
    assert code == 0, printed + told
    assert any(s.trials >= 40 for s in watch.samples)
    # With torch and Ray 640; what trials leave in a heap for each thread makes 2,500 of it.
    assert max(s.anon_mb for s in watch.samples) < 1200
