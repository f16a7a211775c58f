import numpy as np
import pytest
import torch
from torch import nn

from tl_core.data.datasets import ImageSet
from tl_core.inputs.batches import ShrinkingBatches, epoch_order, even_size, split_batches
from tl_core.inputs.readers import pixel_reader
from tl_core.models.backbones import Backbone

CPU = torch.device("cpu")


def order(seed: int, epoch: int, mirror: int = 0) -> list[int]:
    views: list[int] = epoch_order(np.arange(0, 800, 2), seed, epoch, mirror).tolist()
    return views


@pytest.mark.parametrize(("n", "size"), [
    (782, 196), (257, 129), (256, 256), (1, 1),
])  # fmt: skip
def test_no_batch_is_much_smaller_than_the_others(n: int, size: int) -> None:
    assert even_size(n, most=256) == size


def test_an_epoch_covers_each_image_once_in_an_order_of_its_seed_and_number() -> None:
    before, numpy_state = order(1, 1), np.random.get_state()
    torch.manual_seed(99)
    assert order(1, 1) == before
    assert np.random.get_state()[1].tolist() == numpy_state[1].tolist()  # type: ignore[index]
    orders = {tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2, 10)}
    assert len(orders) == 6
    assert {tuple(sorted(each)) for each in orders} == {tuple(range(0, 800, 2))}


@pytest.mark.parametrize(("n", "batch_size", "expected"), [
    (8, 4, [4, 4]), (10, 4, [4, 4, 2]), (9, 4, [4, 5]), (5, 4, [5]), (3, 4, [3]), (1, 4, [1]),
    (3, 2, [3]), (5, 1, [1, 1, 1, 2]),
])  # fmt: skip
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


class Limited:
    """Makes numbers of up to so many views; it is asked for batches of these sizes."""

    def __init__(self, most: int, error: RuntimeError) -> None:
        self.most, self.error, self.sizes = most, error, list[int]()

    def __call__(self, views: np.ndarray) -> list[int]:
        self.sizes.append(len(views))
        if len(views) > self.most:
            raise self.error
        made: list[int] = (10 * views).tolist()
        return made


OUT = torch.OutOfMemoryError("CUDA out of memory.")


def test_batches_are_halved_where_memory_ends_and_stay_so() -> None:
    batches, network = ShrinkingBatches(8, CPU), Limited(3, OUT)
    assert batches.run(network, np.arange(7)) == [[0, 10, 20], [30, 40, 50], [60]]
    assert batches.run(network, np.arange(4)) == [[0, 10, 20], [30]]
    assert network.sizes == [7, 3, 3, 1, 3, 1]


def test_one_view_that_is_too_much_is_an_error_and_so_is_any_other() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        ShrinkingBatches(4, CPU).run(Limited(0, OUT), np.arange(4))
    with pytest.raises(RuntimeError, match="shapes differ"):
        ShrinkingBatches(4, CPU).run(Limited(3, RuntimeError("shapes differ")), np.arange(4))
