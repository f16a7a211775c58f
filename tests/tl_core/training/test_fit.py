import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.core.trials import CPU, STILL
from tl_core.aux_task import AuxWeight
from tl_core.config import EpochMetrics, TrialConfig
from tl_core.data.splits import Split, make_split
from tl_core.errors import DivergedError
from tl_core.inputs.batches import epoch_order, stacked_order
from tl_core.inputs.unlabelled import Unlabelled
from tl_core.models.article import ARTICLE_RECIPE
from tl_core.models.heads import Heads, HeadStack, TwoHeadedNet
from tl_core.objectives.losses import Targets, two_task_loss
from tl_core.objectives.metrics import hits
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import LearnedWeights, Weighting, make_weighting
from tl_core.training.fit import fit, fit_stack, history_of, score
from tl_core.training.learners.net import NetLearner, Part
from tl_core.training.learners.stack import StackLearner
from tl_core.training.optimizers import make_optimizer
from tl_core.training.schedule import Budget

N, D = 70, 4
LABELS = torch.arange(N) % 2
BRIGHTNESS = torch.linspace(0.2, 0.8, N)
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
ROWS[:, 0] += 2 * LABELS.numpy()


@pytest.fixture
def split() -> Split:
    return make_split(LABELS.numpy(), 0.6)


def config(**changes: Any) -> TrialConfig:
    plain = {"mode": "finetune", "train_ratio": 0.6, "lr": 0.1, "epochs": 3, "batch_size": 16}
    return TrialConfig(**plain | ARTICLE_RECIPE | {"head_lr_ratio": 1.0} | changes)


def learner(
    heads: Heads | None = None,
    aux_weight: AuxWeight = 0.3,
    network: nn.Module | None = None,
    **changes: Any,
) -> NetLearner:
    torch.manual_seed(1)
    net = TwoHeadedNet(network or nn.Identity(), heads or Heads(D, 2))
    train, c = make_split(LABELS.numpy(), 0.6).train, config(**changes)
    return NetLearner(
        net, LABELS, BRIGHTNESS, TargetScale.raw(1, CPU).one(), make_weighting(aux_weight, CPU),
        partial(epoch_order, train, c.seed), Budget.of(c, len(train)), eval_batch=32,
        read=lambda views: torch.from_numpy(ROWS[views]),
    )  # fmt: skip


def train(one: NetLearner, split: Split, **changes: Any) -> tuple[EpochMetrics, ...]:
    return fit(one, split, config(**changes), lambda _: None)


@pytest.mark.parametrize("class_weights", [None, torch.tensor([[0.5, 3.0]])])
@pytest.mark.parametrize("batch_size", [5, 16, 41, 100])
def test_training_scores_are_means_over_images(
    split: Split, batch_size: int, class_weights: Tensor | None
) -> None:
    start = replace(learner(batch_size=batch_size, epochs=1), class_weights=class_weights)
    logits, predicted = start.predict(split.train)
    labels, brightness = start.targets(split.train)
    weights = start.image_weights(labels)
    loss = two_task_loss((logits, predicted), Targets(labels, brightness, weights), 0.3)
    (metrics,) = train(start, split, lr=STILL, epochs=1)
    assert metrics.train_loss == pytest.approx(loss.item(), rel=1e-5)
    assert metrics.train_accuracy == pytest.approx(hits(logits, labels).float().mean().item())
    assert metrics.val_log_loss_std is metrics.val_accuracy_std is None, "one seed has no spread"


def test_validation_scores_are_those_of_the_weights_after_the_epoch(split: Split) -> None:
    one = learner()
    last = train(one, split)[-1].plain()
    scores = score(one, split.val)
    assert {name: last[f"val_{name}"] for name in scores} == scores


def test_a_learned_weight_is_reported_as_if_it_were_fixed(split: Split) -> None:
    one = learner(aux_weight="auto")
    last = train(one, split)[-1]
    assert last.aux_weight_learned is not None
    weight = make_weighting(last.aux_weight_learned, CPU)
    fixed = score(replace(one, weighting=weight), split.val)
    assert last.val_loss == pytest.approx(fixed["loss"].item())
    assert last.aux_weight_learned != pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("at", "value", "aux_weight"), [(0, math.nan, 0.3), (1, math.inf, 0.3), (1, math.nan, 0.0)]
)
def test_divergence(split: Split, at: int, value: float, aux_weight: float) -> None:
    seen: list[EpochMetrics] = []
    heads = Heads(D, 2)

    def spoil(_: nn.Module, __: object, outputs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        changed = list(outputs)
        if not heads.training and seen:
            changed[at] = torch.full_like(changed[at], value)
        return tuple(changed)

    heads.register_forward_hook(spoil)
    with pytest.raises(DivergedError, match=f"^val_loss is {value} in epoch 2$"):
        fit(learner(heads, aux_weight), split, config(), seen.append)
    assert [metrics.epoch for metrics in seen] == [1]


def test_dropout_is_drawn_from_the_seed_and_off_in_validation(split: Split) -> None:
    def trained(seed: int, before: int) -> list[float]:
        torch.manual_seed(3)
        one = learner(Heads(D, 2), network=nn.Dropout(0.5), seed=seed)
        torch.manual_seed(before)
        history = train(one, split, seed=seed)
        first, second = (replace(one, model=one.model.train()).predict(split.val) for _ in "12")
        assert torch.equal(first[0], second[0])
        return [metrics.train_loss for metrics in history]

    assert trained(0, before=5) == trained(0, before=6)
    assert trained(0, before=5) != trained(1, before=5)


def test_predictions_keep_the_order_over_batches() -> None:
    one, indices = learner(), np.random.default_rng(0).permutation(N)
    with torch.no_grad():
        expected = one.model(torch.from_numpy(ROWS[indices]))
    torch.testing.assert_close(one.predict(indices), expected)


@pytest.mark.parametrize("class_weights", [None, torch.tensor([[0.5, 3.0]])])
@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("wide", [1, 1000], ids=["columns", "rows"])
def test_stacked_heads_learn_what_each_would_alone(
    auto: bool, class_weights: Tensor | None, weight_decay: float, wide: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Two trials of three seeds, which differ in rate and auxiliary weight."""
    monkeypatch.setattr("tl_core.models.heads._WIDE", wide)
    seeds, rates, weights = (4, 5, 6), (0.1, 0.02), (0.3, 0.7)
    splits = [make_split(LABELS.numpy(), 0.6, seed=seed) for seed in seeds]
    trains = [split.train for split in splits]
    torch.manual_seed(0)
    starts = [Heads(D, 2) for _ in seeds for _ in rates]
    stack = HeadStack(starts, len(seeds))
    weighting: Weighting = Weighting(torch.tensor(weights * 3))
    if auto:
        weighting = LearnedWeights(6)
    order, rows = partial(stacked_order, trains, seeds), torch.from_numpy(ROWS)
    c = config(weight_decay=weight_decay)
    budget, scale = Budget.of(c, len(trains[0])), TargetScale.of(BRIGHTNESS, trains)
    data = (LABELS, BRIGHTNESS, scale.each(2), weighting, order, budget, N, rows)
    each = None if class_weights is None else class_weights.expand(3, -1)
    reports = fit_stack(StackLearner(stack, *data, class_weights=each), splits[0], c, rates * 3)
    for trial, (lr, w) in enumerate(zip(rates, weights, strict=True)):
        own = [trial, trial + 2, trial + 4]
        stacked, error = history_of(reports, own)
        assert error is None
        alone = []
        for s, number in enumerate(own):
            one = replace(
                learner(starts[number], "auto" if auto else w),
                order=partial(epoch_order, trains[s], seeds[s]),
                scale=TargetScale(scale.mean[s], scale.spread[s]),
                class_weights=class_weights,
            )
            alone.append(train(one, splits[s], lr=lr, weight_decay=weight_decay))
            for name, value in one.weighting.metrics().items():
                found = weighting.metrics()[name][number]
                torch.testing.assert_close(found, value[0], rtol=1e-4, atol=0)
            stack.copy_to(learned := Heads(D, 2), number)
            torch.testing.assert_close(
                dict(learned.state_dict()), dict(starts[number].state_dict()), rtol=1e-3, atol=1e-5
            )
        for epoch, of_seeds in zip(stacked, zip(*alone, strict=True), strict=True):
            for name in ("train_loss", "train_accuracy", "val_loss", "val_auroc"):
                mean = np.mean([metrics.plain()[name] for metrics in of_seeds])
                assert epoch.plain()[name] == pytest.approx(mean, rel=1e-4), name
            r2 = np.mean([metrics.plain()["val_brightness_r2"] for metrics in of_seeds])
            assert epoch.plain()["val_brightness_r2"] == pytest.approx(r2, rel=1e-3)
            losses = [metrics.val_log_loss for metrics in of_seeds]
            assert epoch.val_log_loss_std == pytest.approx(np.std(losses, ddof=1), rel=1e-3)


def test_only_images_of_this_run_count_after_a_resume(split: Split) -> None:
    """Each step sees 8 images, the last one those that are left, and 3 others."""
    others = Unlabelled([split.val], [0], 3)
    one = replace(learner(batch_size=8, epochs=1), extra=others)
    n, steps = len(split.train), len(one.budget.part(1))
    assert steps > 2
    optimizer = make_optimizer(one.model, one.weighting, config(lr=STILL))
    parts: list[Part] = []
    *_, whole = one.train_part(1, optimizer, Part(), parts.append)
    assert whole == n + 3 * steps
    *_, rest = one.train_part(1, optimizer, parts[1])
    assert rest == whole - 2 * (8 + 3)
