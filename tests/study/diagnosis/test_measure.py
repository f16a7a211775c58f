"""What runs where while the speeds are measured: as in the study itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from study.cluster.resources import Resources
from study.diagnosis import measure, probe_worker
from study.diagnosis.measure import Ask, Measured
from study.diagnosis.probe_worker import Probe, ProbeWorker
from tests.conftest import SIDE, TINY
from tests.support.core.trials import CPU
from tests.support.studies.builders import make_settings
from tests.support.study_fixtures import Patch
from tl_core.models.backbones import Backbone


@pytest.mark.parametrize(("held", "jobs", "places"), [
    (None, None, 8), (3, None, 3), (1, None, 1), (1, "2", 2),
])  # fmt: skip
def test_as_many_networks_learn_as_the_memory_holds(
    held: int | None, jobs: str | None, places: int, monkeypatch: Patch
) -> None:
    asked: list[Ask] = []

    @contextmanager
    def workers(_probe: Probe, asks: list[Ask], _found: Measured) -> Iterator[list[Any]]:
        asked.extend(asks)
        yield []

    monkeypatch.setattr(measure, "_workers", workers)
    monkeypatch.setattr(measure, "_measure", lambda *_: None)
    settings = make_settings(data="photos", mode=("finetune",), precision="fp32", jobs=jobs)
    machine = Resources(32, 0, 32, False, {"cpu": "fp32"})
    found = measure.measure(settings, machine, 0, lambda _: None, held)
    assert found.places == len(asked) == places
    assert asked == [{"CPU": 1.0}] * places


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_frozen_network_is_timed_as_it_makes_features(
    precision: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    ran: list[Backbone] = []

    def run(_images: Any, backbone: Backbone, *_: Any) -> torch.Tensor:
        ran.append(backbone)
        return torch.zeros(1)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(probe_worker, "settle_worker", lambda _: CPU)
    monkeypatch.setattr(probe_worker, "_FORWARD_S", 1e-3)
    monkeypatch.setattr(probe_worker, "run_batches", run)
    given = {"backbone": TINY, "image_size": SIDE, "precision": precision}
    settings = make_settings(data="photos", **given)
    assert ProbeWorker(measure._probe(settings, joined=False)).forward() > 0
    first, *_ = ran
    layers = [*first.network.modules()]
    assert first.precision == precision
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
    narrow = {layer.weight.dtype for layer in layers if isinstance(layer, nn.Conv2d)}
    assert narrow == {torch.float32 if precision == "fp32" else torch.bfloat16}
