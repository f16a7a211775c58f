import numpy as np
import pytest
import torch
from torch import nn

from tl_core.data.datasets import ImageSet
from tl_core.models.backbones import Backbone
from tl_core.training.batches import epoch_order, eval_batches, pixel_reader, split_batches

CPU = torch.device("cpu")


def order(seed: int, epoch: int, mirror: int = 0) -> list[int]:
    views: list[int] = epoch_order(np.arange(0, 800, 2), seed, epoch, mirror).tolist()
    return views


@pytest.mark.parametrize("epoch", [1, 2, 10])
def test_an_epoch_covers_each_image_once(epoch: int) -> None:
    assert sorted(order(4, epoch)) == list(range(0, 800, 2)) != order(4, epoch)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 16, 49, 50, 51])
def test_batches_keep_the_order(batch_size: int) -> None:
    batches = list(split_batches(np.arange(50), batch_size))
    assert np.concatenate(batches).tolist() == list(range(50))


@pytest.mark.parametrize(
    ("n", "batch_size", "expected"),
    [
        (8, 4, [4, 4]),
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 5]),
        (5, 4, [5]),
        (3, 4, [3]),
        (1, 4, [1]),
        (3, 2, [3]),
        (5, 1, [1, 1, 1, 2]),
    ],
)
def test_a_single_left_over_image_joins_the_batch_before(
    n: int, batch_size: int, expected: list[int]
) -> None:
    assert [len(batch) for batch in split_batches(np.arange(n), batch_size)] == expected


def test_order_depends_on_seed_and_epoch_alone() -> None:
    before = order(1, 1)
    np.random.seed(99)
    torch.manual_seed(99)
    assert order(1, 1) == before
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2)}) == 4


def test_eval_batches_keep_the_order() -> None:
    indices = np.random.default_rng(0).permutation(70)
    batches = eval_batches(indices, 32)
    assert [len(batch) for batch in batches] == [32, 32, 6]
    assert np.concatenate(batches).tolist() == indices.tolist()


def test_pixels_are_normalised(images: ImageSet) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    backbone = Backbone("none", nn.Identity(), 1, mean, std, "random")
    batch = np.array([3, 0, 39])
    found = pixel_reader(images, backbone, CPU)(batch)
    scaled = images.pixels[batch].astype(np.float64) / 255
    expected = (scaled - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def test_reading_leaves_the_images_alone(images: ImageSet) -> None:
    before = images.pixels[:2].copy()
    backbone = Backbone("none", nn.Identity(), 1, (0.5,) * 3, (0.5,) * 3, "random")
    pixel_reader(images, backbone, CPU)(np.array([0, 1])).zero_()
    assert (images.pixels[:2] == before).all()


def test_mirroring_leaves_the_order_and_turns_about_half() -> None:
    plain, mirrored = np.array(order(1, 1)), np.array(order(1, 1, mirror=1000))
    assert (mirrored % 1000 == plain).all()
    assert 150 < (mirrored >= 1000).sum() < 250
    assert set((mirrored // 1000).tolist()) == {0, 1}


def test_each_epoch_and_seed_mirrors_others() -> None:
    drawn = [order(seed, epoch, 1000) for seed in (1, 2) for epoch in (1, 2)]
    assert len({frozenset(view for view in some if view >= 1000) for some in drawn}) == 4


def test_the_second_half_of_the_views_is_mirrored(images: ImageSet) -> None:
    backbone = Backbone("none", nn.Identity(), 1, (0.5,) * 3, (0.5,) * 3, "random")
    read = pixel_reader(images, backbone, CPU)
    plain, mixed = read(np.array([3, 7])), read(np.array([3 + 40, 7]))
    assert torch.equal(mixed[0], plain[0].flip(-1))
    assert torch.equal(mixed[1], plain[1])
    assert not torch.equal(mixed[0], plain[0])
