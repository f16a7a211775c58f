"""The probe where data are few, constant, separable or wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.support.core.probe_data import SHAPES, TRAIN, VAL, N, draw, outputs, scaled, solve
from tl_core.aux_task import NO_TASK, AuxTask
from tl_core.linear import newton
from tl_core.linear.probe import AuxRows, Probe, solve_probe
from tl_core.linear.subset import penalty_grid
from tl_core.models.heads import probabilities


@pytest.mark.parametrize(("n_classes", "n", "width"), SHAPES)
def test_what_can_be_separated_stays_finite(n_classes: int, n: int, width: int) -> None:
    labels = torch.arange(N) % n_classes
    features = torch.eye(width, dtype=torch.float64)[labels] * 100
    found = solve(features, labels, [TRAIN[:n]], n_classes)
    assert found.weight.isfinite().all()
    assert found.train_accuracy[0] == 1
    assert found.train_log_loss[0] < 1e-3
    # The weakest penalty is the best, and one beyond might be better.
    assert found.at_end[0, 0]
    assert found.l2[0, 0] == penalty_grid(n, width)[-1]


@pytest.mark.parametrize("width", [12, 90])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_class_may_have_a_single_image(n_classes: int, width: int) -> None:
    features, labels = draw(n_classes, width)
    train = np.flatnonzero(labels.numpy() != 1)[:40]
    train = np.append(train, np.flatnonzero(labels.numpy() == 1)[0])
    found = solve(features, labels, [train], n_classes)
    x, l2 = scaled(features, train)[0].numpy(), found.l2[0, 0].item()
    other = LogisticRegression(C=1 / (l2 * len(train)), tol=1e-10, max_iter=20_000)
    expected = other.fit(x[train], labels[train].numpy()).predict_proba(x)
    np.testing.assert_allclose(probabilities(outputs(found, features)[0]), expected, atol=1e-4)


@pytest.mark.parametrize("width", [12, 90])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_features_that_never_vary_give_the_shares_of_the_classes(value: float, width: int) -> None:
    labels = (torch.arange(N) % 4 == 0).long()
    features = torch.full((N, width), value, dtype=torch.float32)
    brightness = torch.linspace(0, 1, N)
    found = solve_probe(features, labels, brightness, [TRAIN], VAL, 2)
    assert (found.weight == 0).all()
    assert torch.sigmoid(found.bias[0, 0]).item() == pytest.approx(1 / 4)
    assert found.bias[0, 1].item() == pytest.approx(brightness[TRAIN].mean().item())
    # All penalties are equally good: the strongest is chosen, and that is said.
    assert torch.equal(found.l2[0], penalty_grid(len(TRAIN), width)[:1].repeat(2))
    assert found.at_end.all()


def test_a_brightness_that_never_varies_is_learned() -> None:
    features, labels = draw(2, 12)
    found = solve_probe(features, labels, torch.full((N,), 0.25), [TRAIN], VAL, 2)
    assert torch.allclose(outputs(found, features)[1], torch.tensor(0.25).double())


def test_a_class_without_a_training_image_is_refused() -> None:
    features, labels = draw(5, 12)
    missing = np.flatnonzero(~np.isin(labels.numpy(), [1, 3]))[:20]
    text = r"^training subset 1: each of the 5 classes must .* image, but \[1, 3\] have none; use a"
    with pytest.raises(ValueError, match=text):
        solve(features, labels, [TRAIN, missing], 5)


@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
@pytest.mark.parametrize(("row", "where"), [(0, "60 training"), (VAL[0], "30 validation")])
def test_features_that_are_not_finite_are_refused(odd: float, row: int, where: str) -> None:
    features, labels = draw(2, 12)
    features[row, 3] = odd
    with pytest.raises(ValueError, match=f"^features must be finite, but in some of {where} rows"):
        solve(features, labels)


def test_a_head_that_did_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = draw(2, 12)
    monkeypatch.setattr(newton, "MOST_STEPS", 2)
    text = r"^training subset 0: the gradient's norm must reach 1e-07, but at the penalty \S+ it is"
    with pytest.raises(RuntimeError, match=text):
        solve(features, labels)


def test_auxiliary_classes_are_a_probe_of_their_own() -> None:
    features, labels = draw(2, 12)
    _, coat = draw(5, 12)
    task = AuxTask("coat", "classification", tuple("abcde"))
    rows = AuxRows(task, [np.arange(66)], VAL)
    found = solve_probe(features, labels, coat, [TRAIN], VAL, 2, aux=rows)
    alone = solve_probe(features, coat, torch.zeros(N), [np.arange(66)], VAL, 5)
    assert found.weight.shape == (1, 6, 12)
    torch.testing.assert_close(found.weight[0, 1:], alone.weight[0, :5])
    torch.testing.assert_close(found.bias[0, 1:], alone.bias[0, :5])
    assert found.train_auxiliary[0, 0].item() == pytest.approx(alone.train_log_loss[0].item())
    none = solve_probe(features, labels, coat, [TRAIN], VAL, 2, aux=replace(rows, task=NO_TASK))
    assert (none.weight.shape, none.l2.shape) == ((1, 1, 12), (1, 1))
    torch.testing.assert_close(none.weight[0, 0], found.weight[0, 0])


def solve_coat(
    features: torch.Tensor, coat: torch.Tensor, n_classes: int, train: np.ndarray, val: np.ndarray
) -> tuple[torch.Tensor, Probe]:
    """Probabilities of the auxiliary classes, [N, A], beside two classes, and the probe."""
    task = AuxTask("coat", "classification", tuple("abcdefghijkl"[:n_classes]))
    labels, rows = torch.arange(len(features)) % 2, AuxRows(task, [train], val)
    found = solve_probe(features, labels, coat, [train], val, 2, aux=rows)
    head = found.weight[0, 1:].double(), found.bias[0, 1:].double()
    return probabilities(features.double() @ head[0].mT + head[1]), found


@pytest.mark.parametrize(("n_classes", "there"), [(2, [0]), (2, [1]), (4, [2]), (4, [0, 3])])
@pytest.mark.parametrize("in_validation", [False, True])
def test_an_auxiliary_class_may_lack_images(
    n_classes: int, there: list[int], in_validation: bool
) -> None:
    features, _ = draw(2, 12)
    coat = torch.tensor(there)[torch.arange(N) % len(there)]
    if in_validation:  # No image of it tells which penalty is best.
        coat[VAL] = next(k for k in range(n_classes) if k not in there)
    probability, found = solve_coat(features, coat, n_classes, TRAIN, VAL)
    absent = [k for k in range(n_classes) if k not in there]
    assert (probability[:, absent] <= 0.5 / len(TRAIN) + 1e-9).all()
    assert found.train_auxiliary.isfinite().all()
    if in_validation or len(there) == 1:
        shares = torch.full((len(there),), 1 / len(there)).double()
        assert (found.weight[0, 1:] == 0).all()
        torch.testing.assert_close(probability[0, there], shares, atol=0.03, rtol=0)


@pytest.mark.parametrize("n_there", [2, 4])
def test_classes_without_an_image_change_neither_the_others_nor_the_penalty(n_there: int) -> None:
    features, coat = draw(n_there, 12)
    alone, without = solve_coat(features, coat, n_there, TRAIN, VAL)
    # Numbers between are of classes that only validation has, and two that no image has.
    more = torch.cat([features, features[:3] * 5])
    coat = torch.cat([2 * coat + 1, torch.tensor([0, 2, 2])])
    val = np.append(VAL, [N, N + 1, N + 2])
    probability, found = solve_coat(more, coat, 2 * n_there + 2, TRAIN, val)
    kept = probability[:N, 1 : 2 * n_there : 2]
    torch.testing.assert_close(kept / kept.sum(1, keepdim=True), alone, atol=1e-6, rtol=0)
    assert kept.sum(1).min() > 1 - (n_there + 2) * 0.5 / len(TRAIN)
    assert found.l2[0, 1] == without.l2[0, 1]


@pytest.mark.parametrize(("seed", "width"), [(1, 512), (4, 64)])
def test_rare_auxiliary_classes_do_not_keep_the_probe_from_its_minimum(
    seed: int, width: int
) -> None:
    # As of a column of sites, where three are usual and the others have no training image.
    random = np.random.default_rng(seed)
    features = torch.tensor(np.maximum(random.normal(size=(56, width)), 0))
    coat = torch.tensor(random.integers(0, 12, 56))
    coat[:16] %= 3
    _, found = solve_coat(features, coat, 12, np.arange(16), np.arange(16, 56))
    assert found.gradient.max() <= newton.TOLERANCE
