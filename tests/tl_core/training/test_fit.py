import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.core.trials import CPU, STILL
from tl_core.config import AuxWeight, EpochMetrics, TrialConfig
from tl_core.data.splits import Split, make_split
from tl_core.errors import DivergedError
from tl_core.models.heads import Heads, HeadStack
from tl_core.training.batches import epoch_order, stacked_order
from tl_core.training.fit import fit, score
from tl_core.training.learners import NetLearner, StackLearner
from tl_core.training.losses import two_task_loss
from tl_core.training.metrics import hits
from tl_core.training.weighting import make_weighting

N, D = 70, 4
LABELS = torch.arange(N) % 2
BRIGHTNESS = torch.linspace(0.2, 0.8, N)
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
ROWS[:, 0] += 2 * LABELS.numpy()


@pytest.fixture
def split() -> Split:
    return make_split(LABELS.numpy(), 0.6)


def config(epochs: int = 3, seed: int = 0) -> TrialConfig:
    return TrialConfig(mode="freeze", train_ratio=0.6, lr=0.1, epochs=epochs, seed=seed)


def learner(
    model: nn.Module | None = None, aux_weight: AuxWeight = 0.3, batch_size: int = 16, seed: int = 0
) -> NetLearner:
    torch.manual_seed(1)
    weighting = make_weighting(aux_weight, 1, CPU)
    order = partial(epoch_order, make_split(LABELS.numpy(), 0.6).train, seed)
    return NetLearner(
        model or Heads(D, 2), LABELS, BRIGHTNESS, weighting, order, batch_size, eval_batch=32,
        read=lambda views: torch.from_numpy(ROWS[views]),
    )  # fmt: skip


def train(
    one: NetLearner | StackLearner, split: Split, lr: float = 0.1, **changes: int
) -> tuple[EpochMetrics, ...]:
    return fit(one, split, config(**changes), lr, lambda _: None)


@pytest.mark.parametrize("batch_size", [5, 16, 41, 100])
def test_training_scores_are_means_over_images(split: Split, batch_size: int) -> None:
    start = learner(batch_size=batch_size)
    logits, predicted = start.predict(split.train)
    labels, brightness = start.targets(split.train)
    loss = two_task_loss((logits, predicted), labels, brightness, 0.3)
    (metrics,) = train(start, split, STILL, epochs=1)
    assert metrics.train_loss == pytest.approx(loss.item(), rel=1e-5)
    assert metrics.train_accuracy == pytest.approx(hits(logits, labels).float().mean().item())
    assert metrics.val_log_loss_std is metrics.val_accuracy_std is None, "one seed has no spread"


def test_validation_scores_are_those_of_the_weights_after_the_epoch(split: Split) -> None:
    one = learner()
    last = vars(train(one, split)[-1])
    scores = score(one, split.val)
    assert {name: last[f"val_{name}"] for name in scores} == scores


def test_a_learned_weight_is_reported_as_if_it_were_fixed(split: Split) -> None:
    one = learner(aux_weight="auto")
    last = train(one, split)[-1]
    assert last.aux_weight_learned is not None
    weight = make_weighting(last.aux_weight_learned, 1, CPU)
    fixed = score(replace(one, weighting=weight), split.val)
    assert last.val_loss == pytest.approx(fixed["loss"].item())
    assert last.aux_weight_learned != pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("at", "value", "aux_weight"), [(0, math.nan, 0.3), (1, math.inf, 0.3), (1, math.nan, 0.0)]
)
def test_divergence(split: Split, at: int, value: float, aux_weight: float) -> None:
    seen: list[EpochMetrics] = []
    model = Heads(D, 2)

    def spoil(_: nn.Module, __: object, outputs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        changed = list(outputs)
        if not model.training and seen:
            changed[at] = torch.full_like(changed[at], value)
        return tuple(changed)

    model.register_forward_hook(spoil)
    with pytest.raises(DivergedError, match=f"^val_loss is {value} in epoch 2$"):
        fit(learner(model, aux_weight), split, config(), 0.1, seen.append)
    assert [metrics.epoch for metrics in seen] == [1]


def test_dropout_is_drawn_from_the_seed_and_off_in_validation(split: Split) -> None:
    def trained(seed: int, before: int) -> list[float]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Dropout(0.5), Heads(D, 2))
        one = learner(model, seed=seed)
        torch.manual_seed(before)
        history = train(one, split, seed=seed)
        first, second = (replace(one, model=model.train()).predict(split.val) for _ in range(2))
        assert torch.equal(first[0], second[0])
        return [metrics.train_loss for metrics in history]

    assert trained(0, before=5) == trained(0, before=6)
    assert trained(0, before=5) != trained(1, before=5)


def test_predictions_keep_the_order_over_batches() -> None:
    one, indices = learner(), np.random.default_rng(0).permutation(N)
    with torch.no_grad():
        expected = one.model(torch.from_numpy(ROWS[indices]))
    torch.testing.assert_close(one.predict(indices), expected)


@pytest.mark.parametrize("aux_weight", [0.3, "auto"])
def test_stacked_heads_learn_what_each_would_alone(aux_weight: AuxWeight) -> None:
    seeds = (4, 5, 6)
    splits = [make_split(LABELS.numpy(), 0.6, seed=seed) for seed in seeds]
    torch.manual_seed(0)
    starts = [Heads(D, 2) for _ in seeds]
    stack = HeadStack(starts)
    order = partial(stacked_order, [split.train for split in splits], seeds)
    weighting, rows = make_weighting(aux_weight, 3, CPU), torch.from_numpy(ROWS)
    together = StackLearner(stack, LABELS, BRIGHTNESS, weighting, order, 16, N, rows)
    history = train(together, splits[0])
    alone = []
    for s, (seed, split, heads) in enumerate(zip(seeds, splits, starts, strict=True)):
        one = replace(learner(heads, aux_weight), order=partial(epoch_order, split.train, seed))
        alone.append(train(one, split))
        for name, value in one.weighting.metrics().items():
            torch.testing.assert_close(weighting.metrics()[name][s], value[0], rtol=1e-4, atol=0)
        stack.copy_to(learned := Heads(D, 2), s)
        torch.testing.assert_close(
            dict(learned.state_dict()), dict(heads.state_dict()), rtol=1e-3, atol=1e-5
        )
    for epoch, of_seeds in zip(history, zip(*alone, strict=True), strict=True):
        for name in ("train_loss", "train_accuracy", "val_loss", "val_auroc", "val_brightness_r2"):
            mean = np.mean([getattr(metrics, name) for metrics in of_seeds])
            assert getattr(epoch, name) == pytest.approx(mean, rel=1e-4), name
        losses = [metrics.val_log_loss for metrics in of_seeds]
        assert epoch.val_log_loss_std == pytest.approx(np.std(losses, ddof=1), rel=1e-3)
