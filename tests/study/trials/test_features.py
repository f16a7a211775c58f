"""The frozen network runs in the driver if that is soon; Ray is imported where it starts."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from study.preflight.prepare import Prepared
from study.trials.features import run_locally_if_fast, with_features
from study.trials.frozen_part import FrozenPart
from study.trials.trial_context import TrialContext
from tests.conftest import TINY
from tests.support.studies.builders import make_settings
from tests.support.study_fixtures import Capture, Run
from tl_core.data.datasets import ImageSet
from tl_core.errors import OutOfTimeError
from tl_core.inputs.features import Forward, extract, load_features
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


@pytest.mark.usefixtures("undrawn")
def test_a_study_whose_features_take_too_long_ends_in_time(
    run_alone: Run, photo_folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:  # fmt: skip
    words = (
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", 40,
        "--mode", "freeze", "--train-ratio", 0.2, "--trials", 2, "--name", "mine", "--offline",
    )  # fmt: skip
    in_time = 0

    def distribute(context: object, part: FrozenPart, *words: object) -> Forward:
        def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
            columns = pretrained(*part[:4]).n_features
            yield from (np.ones((len(views), columns), np.float32) for views in chunks[:in_time])
            raise OutOfTimeError(f"over at {words[-1]}")

        return forward

    waits_until = list[float | None]()

    def load(*given: Any, **more: Any) -> np.ndarray:
        waits_until.append(more["end"])
        return load_features(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Prepared, "end", 1.0)
        patch.setattr("study.trials.features.load_features", load)
        patch.setattr("study.trials.features.SOON_S", 0)
        patch.setattr("study.trials.extractors.distribute", distribute)
        patch.setattr("study.cluster.local_ray.local_ray", lambda *_, **__: nullcontext())
        patch.setattr("tl_core.inputs.features._CHUNKS", (4, 4096))
        assert run_alone(*words, "--max-time", "8h") == 5, "it has decoded the images"
        assert capsys.readouterr().err.endswith("error: out of time\n  over at 1.0\n")
        assert run_alone(*words, "--max-time", "8h") == 2
        assert capsys.readouterr().err.endswith(
            "  --max-time is too short: the frozen network has not run over its first 4 images, "
            "and less than that is not kept; choose a longer one\n"
        )
        in_time = 1
        assert run_alone(*words, "--max-time", "8h") == 5, "it has run over four"
    assert waits_until == 3 * [1.0]
    assert not Path("runs/mine").exists(), "the same command goes on"
    assert run_alone(*words, "--max-time", "8h") == 0


@pytest.mark.parametrize("decoded", [True, False])
def test_whether_a_command_has_made_features_is_known(
    images: ImageSet, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    decoded: bool,
) -> None:  # fmt: skip
    settings = make_settings(
        mode=("freeze",), backbone=TINY, weights=str(tiny_weights), cache=tmp_path / "cache"
    )
    cores = SimpleNamespace(only_cores=lambda _: True, device=lambda _: torch.device("cpu"))
    prepared: Any = SimpleNamespace(
        settings=settings, images=images, resources=cores, gpus=0, end=None, decoded=decoded
    )
    monkeypatch.setattr("study.trials.features.feature_makers", lambda *_: 1)
    context = TrialContext.here(settings, "images/one", tmp_path)
    found, made = with_features(prepared, context)
    assert ((tmp_path / "cache" / str(found.features)).is_dir(), made) == (True, True)
    assert with_features(prepared, context) == (found, decoded), "the cache has them"
    prepared.settings = settings.model_copy(update={"weights": "none"})
    assert with_features(prepared, context) == (context, decoded), "no trial needs them"


def test_a_study_without_workers_does_not_import_ray() -> None:
    modules = "study.preflight.prepare, study.execution.run_study, study.execution.search"
    code = f"import sys, {modules}, study.trials.features; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
