import pytest
import torch
from torch import Tensor

from tl_core.aux_task import AuxKind
from tl_core.objectives.gradient import OutputGradient
from tl_core.objectives.losses import Targets, task_losses

SEEDS, WIDTH, B = 2, 3, 4
"""Seeds, heads of each seed, images."""


def n_auxiliary(kind: AuxKind) -> int:
    return {"regression": 1, "classification": 3, "none": 0}[kind]


def drawn(n_classes: int, kind: AuxKind, weighted: bool) -> Targets:
    shape = (SEEDS, B)
    aux = torch.rand(shape) if kind == "regression" else torch.randint(3, shape)
    weights = (torch.rand(shape), torch.rand(shape)) if weighted else (None, None)
    return Targets(torch.randint(n_classes, shape), aux, *weights)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["regression", "classification", "none"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_is_autograds(n_classes: int, kind: AuxKind, weighted: bool) -> None:
    torch.manual_seed(0)
    k, a = 1 if n_classes == 2 else n_classes, n_auxiliary(kind)
    outputs = torch.randn(SEEDS, B, WIDTH, k + a, requires_grad=True)
    targets, coefficients = drawn(n_classes, kind, weighted), torch.rand(SEEDS * WIDTH, 2)
    flat = outputs.transpose(1, 2).flatten(0, 1)
    rest = flat[..., k].clone() if kind == "regression" else flat[..., k:]
    tasks = torch.stack(task_losses((flat[..., :k], rest), targets.for_heads(WIDTH)), dim=-1)
    (expected,) = torch.autograd.grad((coefficients * tasks).sum(), outputs)
    gradient = OutputGradient(k, a, kind == "regression")
    factors = gradient.factors(coefficients / B).view(SEEDS, 1, WIDTH, k + a)
    found = gradient(outputs.detach(), gradient.lay_out(targets), factors)
    torch.testing.assert_close(found, expected)


def test_batches_are_parts_of_what_is_laid_out() -> None:
    targets: Targets = drawn(3, "regression", weighted=True)
    gradient = OutputGradient(3, 1, is_number=True)
    parts = [*gradient.lay_out(targets).split([1, 3])]
    for part, of_batch in zip(parts, targets.split([1, 3]), strict=True):
        expected: tuple[Tensor | None, ...] = gradient.lay_out(of_batch)
        torch.testing.assert_close(tuple(part), tuple(expected))


def test_by_hand() -> None:
    gradient = OutputGradient(1, 1, is_number=True)
    targets = Targets(torch.tensor([[1]]), torch.tensor([[0.25]]))
    factors = gradient.factors(torch.tensor([[0.6, 0.4]])).view(1, 1, 1, 2)
    found = gradient(torch.tensor([[[[0.0, 0.75]]]]), gradient.lay_out(targets), factors)
    # 0.6 * (sigmoid(0) - 1), and 0.4 * 2 * (0.75 - 0.25).
    torch.testing.assert_close(found.flatten(), torch.tensor([-0.3, 0.4]))
