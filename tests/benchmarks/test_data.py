"""The data that rows are given: tiled, attached, and seen whole."""

from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.speed import gpu_steps
from benchmarks.speed.attach import Attached, attach, open_entry, own_pss, touch
from benchmarks.speed.bench import Bench, tile
from benchmarks.speed.rows.backbone import count_flops, same_features
from benchmarks.speed.rows.gpu import same_loss
from tests.conftest import SIDE
from tl_core.config import Precision
from tl_core.data.datasets import ImageSet


def bench(scratch: Path) -> Bench:
    return Bench("demo", "efficientnet_lite0", 32, 1, True, scratch)


def test_tiled_images_are_the_images_again_and_again(images: ImageSet, tmp_path: Path) -> None:
    tiled = tile(images, 3, tmp_path / "tiled")
    assert len(tiled.labels) == len(set(tiled.ids)) == 3 * len(images.labels)
    for turn in range(3):
        part = slice(turn * len(images.labels), (turn + 1) * len(images.labels))
        np.testing.assert_array_equal(tiled.pixels[part], images.pixels)
        np.testing.assert_array_equal(tiled.labels[part], images.labels)
        np.testing.assert_array_equal(tiled.brightness[part], images.brightness)
    assert tiled.key != images.key


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux only")
def test_attach_tells_time_memory_and_what_it_read(images: ImageSet, tmp_path: Path) -> None:
    tile(images, 1, tmp_path / "images")
    np.save(tmp_path / "features.npy", np.ones((40, 8), np.float32))
    found: SimpleQueue[Attached] = SimpleQueue()
    waits: list[float] = []
    attach(tmp_path, waits.append, found)
    told = found.get()
    assert len(waits) == 3
    assert told.seconds > 0
    assert told.checksum == touch(*open_entry(tmp_path))
    assert own_pss() > 2**20


def test_touch_reads_one_byte_of_each_page(images: ImageSet, tmp_path: Path) -> None:
    tile(images, 1, tmp_path / "images")
    features = np.zeros((2, 4096), np.float32)
    features.view(np.uint8).reshape(-1)[[0, 1, 4096, 8192]] = [5, 100, 7, 11]
    pages = images.pixels.reshape(-1)[::4096]
    assert touch(images, features) == int(pages.sum(dtype=np.int64)) + 5 + 7 + 11


def test_demo_photos_are_drawn_once_and_by_class(tmp_path: Path) -> None:
    folder = bench(tmp_path).folder
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    assert len(files) == 80
    assert files[:2] == ["cat/00000.jpg", "cat/00002.jpg"]
    assert files[-1] == "dog/00079.jpg"


def test_fresh_folders_are_new_each_time(tmp_path: Path) -> None:
    names = [bench(tmp_path).fresh("x").name for _ in range(3)]
    assert names == ["x-0", "x-1", "x-2"]


def test_flops_are_counted_by_hand() -> None:
    # 2 images, 4 x 4 places, 5 filters of 3 x 3 x 3 weights: a product and a sum each.
    network = nn.Conv2d(3, 5, 3, padding=1)
    assert count_flops(network, torch.zeros(2, 3, 4, 4)) == 2 * 16 * 5 * 27 * 2


def test_features_of_bf16_pass_the_gate_and_others_do_not() -> None:
    torch.manual_seed(0)
    network = nn.Linear(16, 16)
    images = torch.randn(4, 16)
    assert same_features(network, images, "fp32").ok
    assert same_features(network, images, "bf16").ok
    dropout = nn.Dropout(0.5).train()
    assert not same_features(dropout, torch.ones(4, 16), "fp32").ok


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gpu_rows_train_on_a_cpu_as_well(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(gpu_steps, "SIDE", SIDE)
    training = gpu_steps.Training(images, 16, device=cpu, precision=precision)
    loss, n = training.epoch()
    assert n == 40
    gate = same_loss(images, 16, loss, cpu)
    assert gate.ok, gate.text
    assert not same_loss(images, 16, 2 * loss, cpu).ok
    features = gpu_steps.features_of(images, gpu_steps.random_resnet(precision), cpu)
    assert features.shape == (40, 512)
