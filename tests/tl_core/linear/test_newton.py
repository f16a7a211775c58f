import numpy as np
import pytest
import torch

from tl_core.linear.design import make_design
from tl_core.linear.losses import LogLoss, Loss, SquaredLoss
from tl_core.linear.newton import TOLERANCE, conjugate_gradients, lower, minimise, solve_path
from tl_core.linear.objective import Hessian, Objective

RANDOM = np.random.default_rng(0)
ROWS = torch.tensor(RANDOM.normal(size=(40, 6)) @ RANDOM.normal(size=(6, 6)))
LABELS = torch.tensor(RANDOM.integers(0, 3, 40))
L2 = torch.tensor([2.0, 0.1, 1e-4], dtype=torch.float64)
LOSSES: list[tuple[Loss, int]] = [
    (LogLoss((LABELS > 0).long()), 1),
    (LogLoss(LABELS), 3),
    (SquaredLoss(ROWS[:, 0] ** 2), 1),
    (LogLoss((LABELS > 0).long(), 0.5 + (LABELS > 0).double()), 1),
    (LogLoss(LABELS, 0.5 + LABELS.double()), 3),
]


def objective(loss: Loss) -> Objective:
    return Objective(make_design(ROWS, torch.arange(40)), loss)


def draw(k: int) -> torch.Tensor:
    return torch.tensor(RANDOM.normal(size=(len(L2), k, 7)))


@pytest.mark.parametrize(("loss", "k"), LOSSES)
def test_gradient_and_hessian_are_the_derivatives(loss: Loss, k: int) -> None:
    of, weights, change = objective(loss), draw(k), draw(k)
    step = 1e-6
    above, below = (of(weights + sign * step * change, L2) for sign in (1, -1))
    along = (of(weights, L2).gradient * change).sum((1, 2))
    slope = (above.value - below.value) / (2 * step)
    torch.testing.assert_close(along, slope, atol=1e-6, rtol=1e-6)
    to_rotated = of.design.to_rotated
    product = Hessian(of, to_rotated(weights), L2.float()) @ to_rotated(change)
    found = of.design.from_rotated(product)
    expected = (above.gradient - below.gradient) / (2 * step)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_value_by_hand() -> None:
    rows = torch.tensor([[-1.0], [1.0]])
    of = Objective(make_design(rows, torch.arange(2)), SquaredLoss(torch.tensor([1.0, 3.0])))
    slope = of.design.to_raw(torch.tensor([[1.0, 0.0]]).double())[0].sign().item()
    # Outputs 1 and 3 hit both targets, at a slope of 1 and an intercept of 2.
    weights = torch.tensor([[[slope, 2.0]]]).double()
    _, value, gradient = of(weights, torch.tensor([0.5]).double())
    assert value.item() == pytest.approx(0.25)
    assert gradient.flatten().tolist() == pytest.approx([0.5 * slope, 0])


@pytest.mark.parametrize(("loss", "k"), LOSSES)
def test_conjugate_gradients_solve(loss: Loss, k: int) -> None:
    of, weights, right = objective(loss), draw(k).float(), draw(k).float()
    if k == 3:  # The sum over classes is not decided by the objective.
        right = right - right.mean(1, keepdim=True)
    wanted = torch.tensor([1e-1, 1e-2, 1e-3])[:, None, None] * right.flatten(1).norm(dim=1)[0]
    solution = conjugate_gradients(Hessian(of, weights, L2.float()), right, wanted)
    rest = right - Hessian(of, weights, L2.float()) @ solution
    assert (rest.flatten(1).norm(dim=1) <= 1.1 * wanted.flatten()).all()


@pytest.mark.parametrize(("loss", "k"), LOSSES)
def test_the_minimum_is_the_same_from_a_bad_start(loss: Loss, k: int) -> None:
    of = objective(loss)
    good, bad = (minimise(of, L2, of(w, L2)) for w in (torch.zeros(3, k, 7).double(), 10 * draw(k)))
    for weights, norms in (good, bad):
        assert (norms <= TOLERANCE).all()
        torch.testing.assert_close(of(weights, L2).norms(), norms)
    torch.testing.assert_close(of(good[0], L2).value, of(bad[0], L2).value, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("loss", "k"), LOSSES)
def test_the_lower_start_is_taken(loss: Loss, k: int) -> None:
    of, some = objective(loss), 10 * draw(k)
    some[1] = torch.nan
    some[2] = minimise(of, L2, of(torch.zeros_like(some), L2))[0][2]
    other = torch.zeros(1, k, 7).double()
    found = lower(of, L2, some, other)
    expected = of(torch.cat([other, other, some[2:]]), L2)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(("loss", "k"), LOSSES)
@pytest.mark.parametrize("group", [1, 4, 100])
def test_a_path_has_every_penalty_in_order(loss: Loss, k: int, group: int) -> None:
    of, l2 = objective(loss), torch.logspace(2, -5, 10, dtype=torch.float64)
    start = torch.zeros(k, 7, dtype=torch.float64)
    groups = [*solve_path(of, l2, start, group)]
    assert [len(norms) for _, norms in groups] == {1: [1] * 10, 4: [4, 4, 2], 100: [10]}[group]
    weights = torch.cat([weights for weights, _ in groups])
    assert (of(weights, l2).norms() <= TOLERANCE).all()
    sizes = weights[..., :-1].flatten(1).norm(dim=1)
    assert (sizes.diff() > 0).all()


@pytest.mark.parametrize("k", [1, 3])
def test_a_row_that_counts_twice_is_as_two_rows(k: int) -> None:
    labels, first = LABELS if k == 3 else (LABELS > 0).long(), torch.arange(40) < 10
    views = torch.cat([torch.arange(40), torch.arange(10)])
    twice = Objective(make_design(ROWS, views), LogLoss(labels[views]))
    counts = torch.where(first, 2.0, 1.0).double() * 40 / 50
    once = Objective(make_design(ROWS, torch.arange(40)), LogLoss(labels, counts))
    # The two divide the features by different numbers, so their penalties mean different things.
    same = L2 * (twice.design.scale / once.design.scale) ** 2
    start = torch.zeros(len(L2), k, 7).double()
    found = [
        of.design.to_raw(minimise(of, l2, of(start, l2))[0])
        for of, l2 in ((twice, L2), (once, same))
    ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_ridge_is_the_closed_form() -> None:
    of = objective(SquaredLoss(ROWS[:, 0] ** 2))
    weights, _ = minimise(of, L2, of(torch.zeros(3, 1, 7, dtype=torch.float64), L2))
    x = torch.cat([*of.design.exact()])
    for l2, found in zip(L2, weights, strict=True):
        penalty = l2 * torch.eye(7).double()
        penalty[-1, -1] = 0
        expected = torch.linalg.solve(x.T @ x / 40 + penalty, x.T @ ROWS[:, 0] ** 2 / 40)
        torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-5)
