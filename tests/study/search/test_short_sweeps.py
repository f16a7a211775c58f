"""What the driver makes itself, by figures that can be checked in the head."""

from typing import Any

import pytest

from study.search.short_sweeps import Shape, is_short, products
from tests.support.studies.builders import make_config, plain_shape
from tl_core.data.splitting.rules import PartSizes

CONFIG: dict[str, Any] = {"train_ratio": 0.8, "seeds": 8, "epochs": 5, "min_steps": 0}


@pytest.mark.parametrize(("shape", "given", "short"), [
    # Sixteen trials, eight seeds, five epochs, 0.9 of the images, 1,280 features, two outputs:
    # 3.5 products of 10**9, 0.9 s.
    (plain_shape(2_400, 2, 1280), {}, True),
    (plain_shape(25_000, 2, 1280), {}, False),
    (plain_shape(25_000, 2, 1280), {"seeds": 1, "train_ratio": 0.1, "epochs": 1}, True),
    (plain_shape(2_400, 37, 1280), {}, False),
    (plain_shape(1_000, 10, 64), {}, True),
    # Each seed has a network of its own.
    (plain_shape(10, 2, 1), {"weights": "none"}, False),
])  # fmt: skip
def test_small_sweeps_are_the_drivers(shape: Shape, given: dict[str, Any], short: bool) -> None:
    assert is_short(make_config(**CONFIG | given), shape) is short


def test_products_of_a_trial() -> None:
    config = make_config(**CONFIG | {"seeds": 2, "batch_size": 40})
    # 80 images in two steps, five times; ten are for validation.
    assert products(config, plain_shape(100, 2, 7)) == 2 * (5 * 80 + 5 * 10) * 7 * 2
    assert products(config, plain_shape(100, 3, 7)) == 2 * (5 * 80 + 5 * 10) * 7 * 4
    # A step sees no more images than there are.
    config = make_config(**CONFIG | {"train_ratio": 0.1, "min_steps": 200})
    assert products(config, plain_shape(100, 2, 7)) == 8 * (200 * 10 + 5 * 10) * 7 * 2
    probe = make_config(mode="probe", lr=None, train_ratio=0.1, epochs=1)
    # Given validation images are scored after each epoch.
    given = Shape(PartSizes(base=100, unheld=100, val=70, test=10), 2, 7)
    assert products(config, given) == 8 * (200 * 10 + 5 * 70) * 7 * 2
    few, more, many = (products(probe, plain_shape(n, 2, 50)) for n in (100, 200, 10_000))
    # Ten images span ten dimensions, a thousand all 50.
    assert (more / few, many / few) == (4, 100 * 5)


def test_probes_of_a_cell_are_solved_once() -> None:
    given: dict[str, Any] = {"mode": "probe", "lr": None, "epochs": 1, "seeds": 8}
    assert is_short(make_config(**given, train_ratio=0.1), plain_shape(2_400, 2, 1280))
    assert not is_short(make_config(**given, train_ratio=0.8), plain_shape(2_400, 2, 1280))
