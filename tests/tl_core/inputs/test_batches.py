import numpy as np
import pytest
import torch
from torch import nn

from tl_core.data.datasets import ImageSet
from tl_core.inputs import batches
from tl_core.inputs.batches import epoch_order, pixel_reader, split_batches, table_on_gpu
from tl_core.models.backbones import Backbone

CPU = torch.device("cpu")


def order(seed: int, epoch: int, mirror: int = 0) -> list[int]:
    views: list[int] = epoch_order(np.arange(0, 800, 2), seed, epoch, mirror).tolist()
    return views


def test_an_epoch_covers_each_image_once_in_an_order_of_its_seed_and_number() -> None:
    before, numpy_state = order(1, 1), np.random.get_state()
    torch.manual_seed(99)
    assert order(1, 1) == before
    assert np.random.get_state()[1].tolist() == numpy_state[1].tolist()  # type: ignore[index]
    orders = {tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2, 10)}
    assert len(orders) == 6
    assert {tuple(sorted(each)) for each in orders} == {tuple(range(0, 800, 2))}


@pytest.mark.parametrize(
    ("n", "batch_size", "expected"),
    [(8, 4, [4, 4]), (10, 4, [4, 4, 2]), (9, 4, [4, 5]), (5, 4, [5]), (3, 4, [3]), (1, 4, [1]),
     (3, 2, [3]), (5, 1, [1, 1, 1, 2])],
)  # fmt: skip
def test_a_single_image_joins_the_last_batch(n: int, batch_size: int, expected: list[int]) -> None:
    batches = list(split_batches(np.arange(n), batch_size))
    assert [len(batch) for batch in batches] == expected
    assert np.concatenate(batches).tolist() == list(range(n))


def test_pixels_are_normalised_and_the_second_half_of_the_views_mirrored(images: ImageSet) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    read = pixel_reader(images, Backbone("none", nn.Identity(), 1, mean, std, "random"), CPU)
    scaled = images.pixels[[3, 0, 39]].astype(np.float64) / 255
    expected = (scaled - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    found = read(np.array([3, 0, 39]))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)
    mixed = read(np.array([3 + 40, 0]))
    assert torch.equal(mixed[0], found[0].flip(-1))
    assert torch.equal(mixed[1], found[1])
    assert not torch.equal(mixed[0], found[0])
    before = images.pixels[:2].copy()
    read(np.array([0, 1])).zero_()
    assert (images.pixels[:2] == before).all()


def test_mirroring_leaves_the_order_and_turns_about_half() -> None:
    plain, mirrored = np.array(order(1, 1)), np.array(order(1, 1, mirror=1000))
    assert (mirrored % 1000 == plain).all()
    assert 150 < (mirrored >= 1000).sum() < 250
    assert set((mirrored // 1000).tolist()) == {0, 1}


def test_a_table_that_takes_a_third_of_the_free_memory_stays_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = np.arange(3000, dtype=np.float16).reshape(1500, 2) / 8
    parts: list[np.ndarray] = [rows, -rows.astype(np.float32)]
    free = 3 * (6000 + 12000)
    monkeypatch.setattr(batches, "memory", lambda _: (free, 10 * free))
    table = table_on_gpu(parts, CPU)
    assert table is not None
    assert (table.dtype, table.shape) == (torch.float32, (3000, 2))
    assert (table.numpy() == np.concatenate(parts)).all()
    same = table_on_gpu([rows], CPU)
    assert same is not None
    assert same.dtype == torch.float16
    monkeypatch.setattr(batches, "memory", lambda _: (free - 1, 10 * free))
    assert table_on_gpu(parts, CPU) is None
