import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from torchvision.transforms.v2 import TrivialAugmentWide

from tl_core.config import PAD_GREY
from tl_core.inputs import trivial_augment
from tl_core.inputs.trivial_augment import LEVELS, NAMES, apply_ops, draw_ops

SIDE = 40


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Two of noise for each operation, uint8 [28, 3, S, S]."""
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.integers(10, 240, size=(28, 3, SIDE, SIDE), dtype=np.uint8))


def test_operations_and_magnitudes_are_those_of_torchvision() -> None:
    space = TrivialAugmentWide._AUGMENTATION_SPACE
    assert [name.replace("_", "") for name in NAMES] == [name.lower() for name in space]
    for k, (magnitudes, signed) in enumerate(space.values()):
        expected = magnitudes(LEVELS, SIDE, SIDE)
        if expected is None:
            assert (trivial_augment._TABLE[k] == 0).all()
            continue
        values = expected.double().numpy()
        if NAMES[k].startswith("translate"):
            values = np.trunc(values)  # Torchvision takes int() when it moves the picture.
        if NAMES[k] == "solarize":
            values = 255 * values
        up, down = trivial_augment._TABLE[k]
        middle = 1 if NAMES[k] in ("brightness", "color", "contrast", "sharpness") else 0
        np.testing.assert_array_equal(up, middle + values)
        np.testing.assert_array_equal(down, middle - values if signed else values)


def test_what_is_drawn_is_uniform() -> None:
    rng = np.random.default_rng(0)
    mirrored, op, magnitude = draw_ops(rng, 28_000)
    assert chisquare(np.bincount(op, minlength=len(NAMES))).pvalue > 0.01
    assert chisquare(np.bincount(mirrored, minlength=2)).pvalue > 0.01
    rotated = magnitude[op == NAMES.index("rotate")]
    assert chisquare(np.bincount(rotated < 0)).pvalue > 0.01
    # Zero is there with both signs.
    degrees, counts = np.unique(np.abs(rotated), return_counts=True)
    assert len(degrees) == LEVELS
    assert chisquare(counts).pvalue > 0.01
    assert chisquare(np.bincount(op[mirrored])).pvalue > 0.01, "the draws are independent"


def test_each_picture_of_a_batch_gets_its_own_operation(pictures: Tensor) -> None:
    op = np.random.default_rng(2).permutation(28) % len(NAMES)
    magnitude = trivial_augment._TABLE[op, np.arange(28) % 2, np.arange(28) + 3]
    before, together = pictures.clone(), apply_ops(pictures, op, magnitude)
    assert torch.equal(pictures, before)
    assert together.dtype == torch.uint8
    for i in range(28):
        alone = apply_ops(pictures[i : i + 1], op[i : i + 1], magnitude[i : i + 1])
        assert torch.equal(together[i], alone[0]), NAMES[op[i]]
        assert torch.equal(alone[0], pictures[i]) == (NAMES[op[i]] == "identity"), NAMES[op[i]]


@pytest.mark.parametrize("name", NAMES)
def test_no_operation_invents_levels_for_black_and_white(name: str) -> None:
    """A level that ran over would come out at the other end."""
    flat = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)
    flat[1] = 255
    k = NAMES.index(name)
    for magnitude in map(float, np.unique(trivial_augment._TABLE[k])):
        black, white = apply_ops(flat, np.array([k, k]), np.full(2, magnitude))
        if name in trivial_augment.GEOMETRIC:
            assert black.max() <= PAD_GREY <= white.min()
        elif name == "solarize":
            assert black.max() == 0 or magnitude == 0
            assert white.max() == 0
        elif name == "posterize":
            assert (black.max(), white.min()) == (0, 256 - 2 ** (8 - int(magnitude)))
        elif name == "brightness":
            assert (black.max(), white.min()) == (0, int(min(255.0, 255 * magnitude)))
        else:
            assert black.max() <= 1
            assert white.min() >= 254
