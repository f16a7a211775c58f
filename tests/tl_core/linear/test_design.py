import numpy as np
import pytest
import torch

from tl_core.linear.design import Design, make_design

RANDOM = np.random.default_rng(0)
ROWS = torch.tensor(5 + RANDOM.normal(size=(30, 8)) @ RANDOM.normal(size=(8, 8)))
FEW, MANY = torch.arange(3, 9), torch.arange(2, 28)


def stacked(design: Design) -> torch.Tensor:
    return torch.cat([*design.exact()])


def test_centre_and_scale_by_hand() -> None:
    rows = torch.tensor([[1.0, 2.0], [9.0, 9.0], [3.0, 2.0], [2.0, 5.0]])
    design = make_design(rows, torch.tensor([0, 2, 3]))
    assert design.mean.tolist() == [2, 3]
    # Centred: (-1, -1), (1, -1), (0, 2).
    assert design.scale == pytest.approx((8 / 6) ** 0.5)
    expected = torch.tensor([[-1, -1], [1, -1], [0, 2]]) / (8 / 6) ** 0.5
    torch.testing.assert_close(stacked(design)[:, :-1], expected.double())
    assert (stacked(design)[:, -1] == 1).all()


@pytest.mark.parametrize("views", [FEW, MANY])
def test_weights_give_the_same_outputs_on_all_kinds_of_rows(views: torch.Tensor) -> None:
    design = make_design(ROWS, views)
    weights = torch.tensor(RANDOM.normal(size=(2, design.d)))
    outputs = stacked(design) @ weights.T
    weight, bias = design.to_raw(weights)
    torch.testing.assert_close(ROWS[views] @ weight.T + bias, outputs)
    rotated = torch.cat(design.rotated) @ design.to_rotated(weights).T
    torch.testing.assert_close(rotated, outputs.float(), atol=1e-4, rtol=1e-4)
    again = design.from_rotated(design.to_rotated(weights))
    torch.testing.assert_close(again, weights, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("views", [FEW, MANY])
def test_rotated_coordinates_are_uncorrelated(views: torch.Tensor) -> None:
    design = make_design(ROWS, views)
    rotated = torch.cat(design.rotated)
    products = rotated.T @ rotated / len(views)
    torch.testing.assert_close(products, design.squares.diag(), atol=1e-5, rtol=1e-5)


def test_few_rows_are_in_their_span_with_the_same_distances_and_penalty() -> None:
    design = make_design(ROWS, FEW)
    assert design.d == len(FEW)  # One less for the mean, one more for the intercept.
    features = (ROWS[FEW] - design.mean) / design.scale
    points = stacked(design)[:, :-1]
    torch.testing.assert_close(points @ points.T, features @ features.T)
    weights = torch.tensor(RANDOM.normal(size=(2, design.d)))
    weight = design.to_raw(weights)[0] * design.scale
    torch.testing.assert_close(weight.norm(dim=1), weights[:, :-1].norm(dim=1))


def test_repeated_rows_need_fewer_coordinates() -> None:
    assert make_design(ROWS, torch.tensor([0, 1, 2, 0, 1, 2])).d == 3


def test_a_last_bit_is_a_spread_and_rounding_is_none() -> None:
    rows = torch.full((500, 400), 0.1, dtype=torch.float32)
    constant = make_design(rows, torch.arange(500))
    assert constant.scale == 1
    rows[5, 5] = torch.nextafter(rows[5, 5], torch.tensor(1.0))
    assert make_design(rows, torch.arange(500)).scale < 1e-9
