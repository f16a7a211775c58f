"""`--trials-per-gpu auto`: what one trial takes on a GPU, and how many of them share it."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from study.preflight import gpu_share
from study.preflight.gpu_check import GpuReport
from study.preflight.gpu_share import CONTEXT, fitting, largest_trial, least, main, trial_bytes
from study.preflight.prepare import Prepared
from study.trials.trial_context import make_context
from tests.support.core.fake_gpu import fake_gpu
from tests.support.studies.asking import ask, faults_of
from tests.support.studies.builders import make_settings
from tests.support.study_fixtures import Patch
from tl_core.config import TrialConfig
from tl_core.inputs.resident import ResidentTables
from tl_core.training.learners.net import NetLearner

CPU = torch.device("cpu")
GB = 10**9
MLP: dict[str, Any] = {"backbone": "mlp", "image_size": 16, "mode": ("scratch",)}


@pytest.mark.parametrize(("free", "needs", "table", "fits"), [
    (10.0, 3.0, 0.0, 3),  # Nine tenths of 10 are given out.
    (10.0, 3.1, 0.0, 2),
    (2.0, 3.0, 0.0, 1),  # One is tried in any case.
    (10.0, 3.0, 1.0, 2),  # Three would keep a table each, as 9 <= 10: 12 in all.
    (10.0, 3.0, 1.2, 3),  # Three have no room for tables, as 10.8 > 10.
    (10.0, 1.0, 0.5, 9),
    (10.0, 1.0, None, 5),  # Tables may take a third.
])  # fmt: skip
def test_trials_that_fit_with_the_tables_that_they_would_keep(
    free: float, needs: float, table: float | None, fits: int
) -> None:
    size = None if table is None else int(table * GB)
    assert fitting(int(free * GB), int(needs * GB), size) == fits


REPORTS = [GpuReport("0", 40 * GB, needs=3 * GB), GpuReport("3", 16 * GB, needs=4 * GB)]


@pytest.mark.parametrize(("reports", "cores", "wanted", "trials", "bound"), [
    (REPORTS[:1], 16, 16, 12, "40.0 GB free on GPU 0"),
    (REPORTS, 16, 16, 3, "16.0 GB free on GPU 3"),
    (REPORTS, 2, 16, 2, "2 cores for each GPU"),
    (REPORTS, 1, 16, 1, "1 core for each GPU"),
    (REPORTS, 16, 2, 2, "the study's trials for each GPU"),
])  # fmt: skip
def test_the_least_of_all_gpus_cores_and_trials(
    reports: list[GpuReport], cores: int, wanted: int, trials: int, bound: str
) -> None:
    share = least(reports, 0, cores, wanted)
    assert (share.trials, share.bound) == (trials, bound)


def config_of(n_images: int | None = None, **settings: Any) -> TrialConfig:
    fixed = {"train_ratio": (0.1, 0.5), "precision": "fp32"} | MLP | settings
    return largest_trial(make_settings(**fixed), n_images)


def test_the_largest_trial_of_a_study() -> None:
    config = config_of(mode=("freeze", "partial", "lp_ft"), unfreeze=(1, 3), compile=True)
    assert (config.mode, config.compile, config.weights) == ("finetune", False, "none")
    partial = config_of(mode=("freeze", "partial"), unfreeze=(1, 3))
    assert (partial.mode, partial.unfreeze) == ("partial", 3)
    assert config_of(aux_weight=("auto",)).aux_weight == 0.5
    assert config_of(aux_weight=(0.0,)).aux_weight == 0.0
    # A batch has at most half of 40 images.
    assert [config_of(n, batch_size=64).batch_size for n in (None, 1000, 40)] == [64, 64, 20]


@pytest.fixture
def measuring(monkeypatch: Patch) -> None:
    tables = ResidentTables()
    monkeypatch.setattr(gpu_share, "_STEPS", 2)
    for user in ("study.preflight.gpu_share", "tl_core.inputs.readers"):
        monkeypatch.setattr(f"{user}.RESIDENT", tables)


def test_a_trial_is_measured_at_its_batch(measuring: None, monkeypatch: Patch) -> None:
    def measured(**changes: Any) -> int:
        with fake_gpu(monkeypatch, 10**10) as gpu:
            found = trial_bytes(config_of(**changes), 40, 2, CPU)
            assert gpu.memory_allocated(None) < found
        return found

    # 16 x 16 x 3 numbers into 1024, and so on: value, gradient and two moments of 1.4 million.
    weights = 4 * (768 * 1024 + 1024 * 512 + 512 * 128)
    small, large = measured(batch_size=4), measured(batch_size=20)
    assert 4 * weights < small < 6 * weights
    # The images alone: float32, 16 more of them.
    assert large - small > 16 * 4 * 768


def test_a_trial_that_diverges_is_measured_as_well(measuring: None, monkeypatch: Patch) -> None:
    steps = list[int]()

    def diverge(learner: NetLearner, *given: Any) -> torch.Tensor:
        steps.append(given[-1])
        return step(learner, *given) * math.nan

    step = NetLearner.step
    with fake_gpu(monkeypatch, 10**10):
        whole = trial_bytes(config_of(batch_size=4), 40, 2, CPU)
    monkeypatch.setattr(NetLearner, "step", diverge)
    with fake_gpu(monkeypatch, 10**10):
        assert abs(trial_bytes(config_of(batch_size=4), 40, 2, CPU) / whole - 1) < 1e-3
    assert len(steps) == gpu_share._STEPS


def run_main(monkeypatch: Patch, total: int) -> None:
    asked = {"config": config_of(batch_size=1).model_dump(), "n_images": 40, "n_classes": 2}
    monkeypatch.setattr(sys, "argv", ["", json.dumps(asked | {"deterministic": False})])
    monkeypatch.setattr(gpu_share, "gpus_here", lambda: [CPU])
    with fake_gpu(monkeypatch, total):
        main()


def test_the_program_tells_what_is_free_and_what_a_trial_takes(
    measuring: None, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(monkeypatch, 10**10)
    found = json.loads(capsys.readouterr().out)
    assert found["free"] == 10**10 + CONTEXT
    assert CONTEXT < found["needs"] < CONTEXT + 10**9
    with pytest.raises(SystemExit, match=r"^out of GPU memory at --batch-size 1, and not even 1"):
        run_main(monkeypatch, 10**7)


def with_gpus(monkeypatch: Patch, reports: Sequence[GpuReport], cores: int = 8) -> list[Any]:
    """Have this machine have GPUs; returns the configurations that they are asked to train."""
    asked: list[Any] = []

    def ask_gpus(names: list[str], module: str, given: str) -> list[GpuReport]:
        asked.append(json.loads(given) | {"names": names, "module": module})
        return [*reports][: len(names)]

    gpus = [torch.device("cuda", i) for i in range(len(reports))]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("study.cluster.resources.gpus_here", lambda: gpus)
    monkeypatch.setattr("study.cluster.resources.usable_cpus", lambda: cores)
    monkeypatch.setattr("study.preflight.memory.free_memory", lambda: None)  # It bounds places.
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(gpu_share, "ask_gpus", ask_gpus)
    return asked


def note(prepared: Prepared) -> str:
    (found,) = (n for n in prepared.notes if n.startswith("--trials-per-gpu"))
    return found


def test_a_study_says_how_many_share_a_gpu(photo_folder: Path, monkeypatch: Patch) -> None:
    (asked,) = [with_gpus(monkeypatch, REPORTS)]
    prepared = ask(photo_folder, trials_per_gpu="auto", trials="64", offline=True)
    assert note(prepared) == (
        "--trials-per-gpu auto: 3, by 16.0 GB free on GPU 3; a trial of scratch takes 4.0 GB"
    )
    assert (prepared.settings.trials_per_gpu, prepared.capacity.trials_per_gpu) == ("auto", 3)
    assert (prepared.capacity.full, prepared.capacity.resources()["GPU"]) == (6, 1 / 3)
    assert make_context(prepared).trials_per_gpu == 3
    assert (asked[0]["names"], asked[0]["module"]) == (["0", "1"], "study.preflight.gpu_share")
    assert TrialConfig(**asked[0]["config"]).mode == "scratch"
    # Four at once, over two GPUs.
    few = ask(photo_folder, trials_per_gpu="auto", trials="64", jobs="4", offline=True)
    assert (few.capacity.trials_per_gpu, few.capacity.full) == (2, 4)
    one = ask(photo_folder, trials_per_gpu="auto", trials="64", gpus="1", offline=True)
    assert (one.capacity.trials_per_gpu, one.capacity.full) == (8, 8)


def test_a_trial_that_fails_is_a_fault(photo_folder: Path, monkeypatch: Patch) -> None:
    with_gpus(monkeypatch, [REPORTS[0], GpuReport("1", fault="CUDA error: unknown")])
    assert faults_of(photo_folder, trials_per_gpu="auto", trials="64", offline=True) == (
        "--trials-per-gpu auto: a trial on GPU 1: CUDA error: unknown; a number skips this trial",
    )


def test_without_a_gpu_nothing_reads_it(photo_folder: Path) -> None:
    faults = faults_of(photo_folder, gpus="0", trials_per_gpu="auto")
    assert faults == ("--trials-per-gpu auto is not read without a GPU",)
