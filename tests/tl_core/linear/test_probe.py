import dataclasses
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge

from tests.support.core.probe_data import SHAPES, TRAIN, VAL, N, draw, outputs, scaled, solve
from tl_core.linear import design, newton, objective, probe
from tl_core.linear.newton import TOLERANCE
from tl_core.linear.probe import Probe, solve_probe
from tl_core.linear.subset import penalty_grid
from tl_core.models.heads import Heads, HeadStack, probabilities
from tl_core.objectives.losses import balanced_weights, classification_loss


@pytest.mark.parametrize(("n_classes", "n", "width"), SHAPES)
def test_both_heads_are_those_of_scikit_learn(n_classes: int, n: int, width: int) -> None:
    features, labels = draw(n_classes, width)
    train = TRAIN[:n]
    found = solve(features, labels, [train], n_classes)
    logits, brightness = outputs(found, features)
    assert logits.shape[1] == (1 if n_classes == 2 else n_classes)
    x, (l2, ridge_l2) = scaled(features, train)[0].numpy(), found.l2[0].tolist()
    other = LogisticRegression(C=1 / (l2 * n), tol=1e-10, max_iter=20_000)
    other.fit(x[train], labels[train].numpy())
    np.testing.assert_allclose(probabilities(logits), other.predict_proba(x), atol=1e-5)
    target = torch.sigmoid(features[:, 0] / 4 - 1).numpy()
    ridge = Ridge(alpha=ridge_l2 * n).fit(x[train], target[train])
    np.testing.assert_allclose(brightness, ridge.predict(x), atol=1e-5)


@pytest.mark.parametrize(("n_classes", "n", "width"), SHAPES)
def test_balanced_weights_are_those_of_scikit_learn(n_classes: int, n: int, width: int) -> None:
    features, labels = draw(n_classes, width)
    labels[1:15:2] = 0  # Of the first class there are more.
    train = TRAIN[:n]
    weights = balanced_weights(labels[train], n_classes)
    light = torch.zeros(N)
    found = solve_probe(features, labels, light, [train], VAL, n_classes, weights[None])
    x, l2 = scaled(features, train)[0].numpy(), found.l2[0, 0].item()
    other = LogisticRegression(C=1 / (l2 * n), tol=1e-10, max_iter=20_000, class_weight="balanced")
    expected = other.fit(x[train], labels[train].numpy()).predict_proba(x)
    logits, _ = outputs(found, features)
    np.testing.assert_allclose(probabilities(logits), expected, atol=1e-4)
    loss = classification_loss(logits[train], labels[train], weights[labels[train]])
    assert found.train_log_loss[0].item() == pytest.approx(loss.item())
    plain = solve_probe(features, labels, light, [train], VAL, n_classes)
    assert not np.allclose(probabilities(outputs(plain, features)[0]), expected, atol=1e-2)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_weights_of_one_change_nothing(n_classes: int) -> None:
    features, labels = draw(n_classes, 12)
    weights = balanced_weights(labels[TRAIN], n_classes)
    assert weights.tolist() == [1.0] * n_classes
    found = solve_probe(features, labels, torch.zeros(N), [TRAIN], VAL, n_classes, weights[None])
    plain = solve_probe(features, labels, torch.zeros(N), [TRAIN], VAL, n_classes)
    torch.testing.assert_close(found.weight, plain.weight)


@pytest.mark.parametrize(("n_classes", "n", "width"), SHAPES)
def test_autograd_finds_no_gradient_at_the_solution(n_classes: int, n: int, width: int) -> None:
    features, labels = draw(n_classes, width)
    train = TRAIN[:n]
    found = solve(features, labels, [train], n_classes)
    x, scale = scaled(features, train)
    weight = (found.weight[0, :-1] * scale).requires_grad_()
    bias = found.bias[0, :-1] + found.weight[0, :-1] @ features[train].mean(0)
    bias.requires_grad_()
    loss = classification_loss(x[train] @ weight.T + bias, labels[train])
    both = torch.autograd.grad(loss + found.l2[0, 0] / 2 * weight.square().sum(), [weight, bias])
    norm = torch.cat([part.flatten() for part in both]).norm().item()
    assert norm <= TOLERANCE + 1e-12
    assert found.gradient[0, 0].item() == pytest.approx(norm, abs=1e-12)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_it_tells_how_well_it_fits_its_training_images(n_classes: int) -> None:
    features, labels = draw(n_classes, 12)
    found = solve(features, labels, n_classes=n_classes)
    logits, brightness = outputs(found, features[TRAIN])
    log_loss = classification_loss(logits, labels[TRAIN]).item()
    assert found.train_log_loss[0].item() == pytest.approx(log_loss)
    right = probabilities(logits).argmax(1) == labels[TRAIN]
    assert found.train_accuracy[0].item() == pytest.approx(right.double().mean().item())
    squared = (brightness - torch.sigmoid(features[TRAIN, 0] / 4 - 1)).square().mean().item()
    assert found.train_auxiliary[0, 0].item() == pytest.approx(squared)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_the_penalty_is_the_best_on_validation(n_classes: int) -> None:
    features, labels = draw(n_classes, 12)
    found = solve(features, labels, n_classes=n_classes)
    grid = penalty_grid(len(TRAIN), 12)
    best = grid.tolist().index(found.l2[0, 0].item())
    x = scaled(features, TRAIN)[0].numpy()
    losses = []
    for l2 in grid[best - 1 : best + 2].tolist():
        other = LogisticRegression(C=1 / (l2 * len(TRAIN)), tol=1e-8, max_iter=20_000)
        p = other.fit(x[TRAIN], labels[TRAIN].numpy()).predict_proba(x[VAL])
        losses.append(-np.log(p[np.arange(len(VAL)), labels[VAL]]).mean())
    assert np.argmin(losses) == 1
    assert not found.at_end.any()


def test_the_grid_spans_the_prior_spread_of_a_logit() -> None:
    grid = penalty_grid(10, 20)
    assert len(grid) == 45
    # 20 features / (10 images * 0.01^2), and / (10 * 100^2).
    assert (grid[0].item(), grid[-1].item()) == pytest.approx((2e4, 2e-4))
    assert torch.allclose(grid[1:] / grid[:-1], torch.tensor(1e-8).double() ** (1 / 44))


def test_a_seed_alone_is_as_in_a_batch_and_equal_subsets_are_solved_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, labels = draw(5, 12)
    trains = [TRAIN, TRAIN + 5, TRAIN[::-1].copy()]
    solve_classes = Mock(wraps=probe._solve_classes)
    monkeypatch.setattr(probe, "_solve_classes", solve_classes)
    batch = solve(features, labels, trains, 5)
    assert solve_classes.call_count == 2
    assert batch.weight.shape == (3, 6, 12)
    for seed, train in enumerate(trains):
        alone = solve(features, labels, [train], 5)
        for field in dataclasses.fields(Probe):
            both = getattr(batch, field.name)[seed], getattr(alone, field.name)[0]
            torch.testing.assert_close(*both, rtol=0, atol=1e-6)


def test_mirror_images_are_trained_on_and_not_validated_on() -> None:
    features, labels = draw(2, 12)
    mirrored = features + 0.5 * torch.sin(7 * features)
    both, twice = torch.cat([features, mirrored]), torch.cat([labels, labels])
    found = solve(both, labels)
    brightness = torch.sigmoid(features[:, 0] / 4 - 1).repeat(2)
    views = np.concatenate([TRAIN, TRAIN + N])
    expected = solve_probe(both, twice, brightness, [views], VAL, 2)
    torch.testing.assert_close(found.weight, expected.weight)
    assert torch.equal(found.l2, expected.l2)
    assert found.l2[0, 0].item() in penalty_grid(2 * len(TRAIN), 12)
    torch.testing.assert_close(found.train_log_loss, expected.train_log_loss)


def test_stacked_heads_take_the_weights() -> None:
    features, labels = draw(5, 12)
    found = solve(features.float(), labels, [TRAIN, TRAIN + 5], 5)
    stack = HeadStack([Heads(12, 5), Heads(12, 5)], 2)
    stack.fill(found.weight, found.bias)
    logits, brightness = stack(features.float())
    for seed in range(2):
        expected = outputs(found, features, seed)
        torch.testing.assert_close(logits[seed].double(), expected[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(brightness[seed].double(), expected[1], atol=1e-4, rtol=1e-4)
    assert found.weight.dtype == torch.float32
    assert solve(features.half(), labels, n_classes=5).weight.dtype == torch.float32


@pytest.mark.parametrize("width", [12, 90])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_with_little_memory_it_is_the_same(
    n_classes: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = draw(n_classes, width)
    expected = solve(features, labels, n_classes=n_classes)
    monkeypatch.setattr(design, "_BLOCK", 7 * width)
    monkeypatch.setattr(design, "_KEPT", 0)
    monkeypatch.setattr(newton, "KEPT", 0)
    monkeypatch.setattr(objective, "KEPT", 0)
    monkeypatch.setattr(newton, "_WIDTH", 1)
    found = solve(features, labels, n_classes=n_classes)
    assert torch.equal(found.l2, expected.l2)
    for one, other in zip(outputs(found, features), outputs(expected, features), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from(SHAPES),
    factor=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
)
def test_neither_shift_nor_unit_of_the_features_matters(
    seed: int, shape: tuple[int, int, int], factor: float, shift: float
) -> None:
    n_classes, n, width = shape
    features, labels = draw(n_classes, width, seed=seed)
    brightness = torch.sigmoid(features[:, 0])
    others = factor * (features + shift)
    plain, other = (
        solve_probe(x, labels, brightness, [TRAIN[:n]], VAL, n_classes) for x in (features, others)
    )
    assert torch.equal(plain.l2, other.l2)
    for one, two in zip(outputs(plain, features), outputs(other, others), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-4)
