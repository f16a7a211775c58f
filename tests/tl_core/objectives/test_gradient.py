import pytest
import torch
from torch import Tensor

from tl_core.aux_task import AuxKind
from tl_core.objectives.gradient import OutputGradient
from tl_core.objectives.losses import Targets, task_losses

SEEDS, WIDTH, B = 2, 3, 4
"""Seeds, heads of each seed, images."""


Task = tuple[AuxKind, int]
"""An auxiliary task, and how many outputs it has."""


def drawn(n_classes: int, task: Task, weighted: str = "") -> Targets:
    shape = (SEEDS, B)
    number, n = task[0] == "regression", max(2, task[1])
    aux = torch.rand(shape) if number else torch.randint(n, shape)
    weights = [torch.rand(shape) if name in weighted else None for name in ("class", "aux")]
    return Targets(torch.randint(n_classes, shape), aux, *weights)


@pytest.mark.parametrize("weighted", ["", "class", "aux", "class and aux"])
@pytest.mark.parametrize(
    "task", [("regression", 1), ("classification", 1), ("classification", 3), ("none", 0)]
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_is_autograds(n_classes: int, task: Task, weighted: str) -> None:
    torch.manual_seed(0)
    k, is_number = 1 if n_classes == 2 else n_classes, task[0] == "regression"
    outputs = torch.randn(SEEDS, B, WIDTH, k + task[1], requires_grad=True)
    targets, coefficients = drawn(n_classes, task, weighted), torch.rand(SEEDS * WIDTH, 2)
    flat = outputs.transpose(1, 2).flatten(0, 1)
    rest = flat[..., k] if is_number else flat[..., k:]
    tasks = torch.stack(task_losses((flat[..., :k], rest), targets.for_heads(WIDTH)), dim=-1)
    (expected,) = torch.autograd.grad((coefficients * tasks).sum(), outputs)
    gradient = OutputGradient(k, task[1], is_number)
    factors = gradient.factors(coefficients / B).view(SEEDS, 1, WIDTH, k + task[1])
    found = gradient(outputs.detach(), gradient.lay_out(targets), factors)
    torch.testing.assert_close(found, expected)


def test_batches_are_parts_of_what_is_laid_out() -> None:
    targets: Targets = drawn(3, ("regression", 1), "class and aux")
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
