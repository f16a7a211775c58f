"""The frozen network runs in the driver if that is soon; Ray is imported where it starts."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from study.errors import OutOfTimeError
from study.preflight.prepare import Prepared
from study.trials.features import run_locally_if_fast, until
from tests.conftest import SIDE, TINY
from tests.support.study_fixtures import Capture, Run
from tl_core.data.datasets import ImageSet
from tl_core.inputs.features import extract
from tl_core.models.folding import fold_backbone
from tl_core.training.setup import pretrained


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("soon_s", "spread_out"), [(1000, False), (0, True)])
def test_a_small_job_is_not_spread(
    images: ImageSet,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    soon_s: float,
    spread_out: bool,
    threads: int,
) -> None:
    monkeypatch.setattr("study.trials.features.SOON_S", soon_s)
    network = pretrained(TINY, str(tiny_weights), images.image_size, "fp32")
    seen: list[np.ndarray] = []

    def elsewhere(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        seen.extend(chunks)
        yield from (extract(images, network, torch.device("cpu"), views) for views in chunks)

    chunks = np.array_split(np.arange(len(images.labels)), 7)
    found = list(run_locally_if_fast(images, network, elsewhere, threads)(chunks))
    assert (len(seen) == 7) == spread_out
    one = network if spread_out else fold_backbone(network, images.image_size)
    expected = [extract(images, one, torch.device("cpu"), views) for views in chunks]
    assert [(a == b).all() for a, b in zip(found, expected, strict=True)] == [True] * 7


def test_what_no_thread_has_begun_ends_with_the_reader(
    images: ImageSet, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = pretrained(TINY, str(tiny_weights), images.image_size, "fp32")
    seen: list[int] = []

    def run(network: object, images: ImageSet, device: object, views: np.ndarray) -> np.ndarray:
        seen.append(int(views[0]))
        return views

    monkeypatch.setattr("study.trials.features.run_part", run)
    monkeypatch.setattr("study.trials.features.SOON_S", 1000)
    chunks = np.array_split(np.arange(len(images.labels)), 20)
    rows = iter(run_locally_if_fast(images, network, iter, 2)(chunks))
    assert (next(rows) == chunks[0]).all()
    rows.close()  # type: ignore[attr-defined]
    assert len(seen) <= 2 + 3, "two to see how fast it is, and those that were begun"


def test_a_frozen_network_stops_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 3.0, 5.0])
    monkeypatch.setattr("study.trials.features.time.monotonic", lambda: next(clock))
    chunks = np.array_split(np.arange(2000), 4)
    rows = iter(until(3.0, iter)(chunks))
    assert [len(next(rows)), len(next(rows))] == [500, 500]
    why = (
        "the frozen network had run over 1,000 of 2,000 images when --max-time was over. Nothing "
        "of it is kept: a longer --max-time, fewer images, a smaller --image-size or --backbone, "
        "or a GPU helps"
    )
    with pytest.raises(OutOfTimeError, match=f"^{re.escape(why)}$"):
        next(rows)
    assert len([*until(3.0, iter)(chunks[:1])]) == 1, "all is done when the time is over"


@pytest.mark.usefixtures("undrawn")
def test_a_study_whose_features_take_too_long_ends_in_time(
    run_alone: Run, photo_folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:  # fmt: skip
    words = (
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--mode", "freeze", "--train-ratio", 0.2, "--trials", 2, "--name", "mine", "--offline",
    )  # fmt: skip
    monkeypatch.setattr("tl_core.inputs.features._CHUNKS", (8, 8))
    with monkeypatch.context() as patch:
        patch.setattr(Prepared, "end", 1.0)
        assert run_alone(*words, "--max-time", "8h") == 5
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("out of time: the frozen network had run over 8 of 40 images when --max")
    assert not Path("runs/mine").exists(), "the same command begins anew"
    assert run_alone(*words, "--max-time", "8h") == 0


def test_a_study_without_workers_does_not_import_ray() -> None:
    modules = "study.preflight.prepare, study.execution.run_study, study.execution.search"
    code = f"import sys, {modules}, study.trials.features; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
