import math
from unittest.mock import Mock

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, r2_score, roc_auc_score

from tl_core.aux_task import NO_TASK, AuxTask
from tl_core.objectives import metrics
from tl_core.objectives.metrics import auroc, measure

LABELS = torch.tensor([0, 1, 1, 0])
BRIGHTNESS = torch.tensor([0.1, 0.2, 0.3, 0.4])
# Probabilities of the second class: 1/4, 3/4, 1/2, 3/4.
LOGITS = torch.tensor([[-math.log(3)], [math.log(3)], [0.0], [math.log(3)]])


def test_scores_by_hand() -> None:
    predicted = torch.tensor([0.2, 0.2, 0.3, 0.2])
    scores = measure((LOGITS, predicted), LABELS, BRIGHTNESS, 0.3)
    log_loss = (2 * math.log(4 / 3) + math.log(2) + math.log(4)) / 4
    squares = 0.01 + 0.04
    assert {name: value.item() for name, value in scores.items()} == pytest.approx(
        {
            "loss": 0.7 * log_loss + 0.3 * squares / 4,
            "log_loss": log_loss,
            "accuracy": 0.5,
            # Of each class one of two is right, and two images are said to be of each.
            "balanced_accuracy": 0.5,
            "macro_f1": (2 * 1 / (2 + 2) + 2 * 1 / (2 + 2)) / 2,
            # Of the four pairs two are in order, one is tied and one is not.
            "auroc": 2.5 / 4,
            "brightness_mae": 0.3 / 4,
            "brightness_r2": 1 - squares / 0.05,
        },
        abs=1e-6,
    )
    assert all(value.shape == () for value in scores.values())


def test_three_classes_by_hand() -> None:
    labels = torch.tensor([0, 1, 2])
    probability = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]])
    scores = measure((probability.log(), torch.zeros(3)), labels, torch.ones(3), 0.0)
    assert scores["log_loss"].item() == pytest.approx((math.log(2) + math.log(4) + math.log(2)) / 3)
    assert scores["accuracy"].item() == pytest.approx(2 / 3)
    assert scores["balanced_accuracy"].item() == pytest.approx(2 / 3)
    # F1 of the classes: 2/3 (two said, one right), 0 and 1.
    assert scores["macro_f1"].item() == pytest.approx((2 / 3 + 0 + 1) / 3)
    # One against the rest: 3/4 (one pair in order, one tied), 1/2 (all tied) and 1.
    assert scores["auroc"].item() == pytest.approx((0.75 + 0.5 + 1) / 3)
    # In single precision all these sigmoids are 1, in double precision all but the first.
    logits = torch.tensor([[30.0], [40.0], [50.0], [60.0]])
    assert auroc(logits, torch.tensor([0, 0, 1, 1])).item() == 1


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_diverged_is_not_finite_and_the_rest_is(odd: float) -> None:
    logits, predicted = LOGITS.clone(), BRIGHTNESS.clone()
    logits[0] = predicted[0] = odd
    classes = measure((logits, BRIGHTNESS), LABELS, BRIGHTNESS, 0.5)
    assert math.isnan(classes["auroc"])
    assert classes["brightness_mae"] == 0
    assert classes["brightness_r2"] == 1
    brightness = measure((LOGITS, predicted), LABELS, BRIGHTNESS, 0.5)
    assert brightness["auroc"] == 2.5 / 4
    assert not math.isfinite(brightness["brightness_mae"])
    assert not math.isfinite(brightness["brightness_r2"])
    assert not math.isfinite(classes["loss"])
    assert not math.isfinite(brightness["loss"])


@pytest.mark.parametrize("k", [1, 4])
def test_stacked_scores_are_sklearns_for_each_net(k: int) -> None:
    torch.manual_seed(0)
    logits, predicted = torch.randn(3, 60, k), torch.rand(3, 60)
    labels, brightness = torch.arange(60) % max(2, k), torch.rand(60)
    scores = measure((logits, predicted), labels, brightness, 0.3)
    for s in range(3):
        ranked = logits[s, :, 0] if k == 1 else torch.softmax(logits[s].double(), dim=1)
        area = roc_auc_score(labels.numpy(), ranked.numpy(), multi_class="ovr")
        assert scores["auroc"][s].item() == pytest.approx(area)
        chosen = (ranked > 0) if k == 1 else ranked.argmax(dim=1)
        recall = balanced_accuracy_score(labels.numpy(), chosen.numpy())
        assert scores["balanced_accuracy"][s].item() == pytest.approx(recall)
        f1 = f1_score(labels.numpy(), chosen.numpy(), average="macro")
        assert scores["macro_f1"][s].item() == pytest.approx(f1)
        r2 = r2_score(brightness.numpy(), predicted[s].numpy())
        assert scores["brightness_r2"][s].item() == pytest.approx(r2)
        alone = measure((logits[s], predicted[s]), labels, brightness, 0.3)
        for name, value in alone.items():
            assert scores[name][s].item() == pytest.approx(value.item()), name


@pytest.mark.parametrize("task", [AuxTask("age", "regression"), AuxTask("c", "classification")])
def test_scores_in_pieces_are_the_same(task: AuxTask, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    is_number = task.kind == "regression"
    outputs = torch.randn(5, 12, 4), torch.randn(5, 12) if is_number else torch.randn(5, 12, 3)
    labels, target = torch.arange(12) % 4, torch.rand(12) if is_number else torch.arange(12) % 3
    weights = torch.rand(5, dtype=torch.float64)
    spreads = torch.rand(5, dtype=torch.float64) if is_number else 1.0
    whole = measure(outputs, labels, target, weights, spreads, task)
    two_nets = 2 * (48 + (12 if is_number else 36))
    for at_once, most in ((two_nets, 2 * 48), (1, 12)):
        with monkeypatch.context() as patch:
            ranks = Mock(wraps=metrics._mean_ranks)
            patch.setattr(metrics, "_mean_ranks", ranks)
            patch.setattr(metrics, "_AT_ONCE", at_once)
            found = measure(outputs, labels, target, weights, spreads, task)
        assert max(ordered.numel() for (ordered,), _ in ranks.call_args_list) == most
        assert found.keys() == whole.keys()
        for name, value in whole.items():
            assert torch.equal(found[name], value), name


@pytest.mark.parametrize("unit", [1e-30, 1e-6, 1.0, 1e12])
def test_r2_is_the_same_in_any_unit(unit: float) -> None:
    task, radius = AuxTask("radius", "regression"), torch.tensor([4.0, 5, 5, 6]) * unit
    # Each 1.5 off: a constant that is worse than the mean, whose squares are 1, 0, 0 and 1.
    scores = measure((LOGITS, radius + 1.5 * unit), LABELS, radius, 0.0, task=task)
    assert scores["radius_r2"].item() == pytest.approx(1 - 4 * 2.25 / 2, rel=1e-4)
    assert scores["radius_mae"].item() == pytest.approx(1.5 * unit, rel=1e-4)


def test_r2_of_values_that_are_all_alike_says_that_nothing_is_learned() -> None:
    # Their mean in floating point is not quite 0.1.
    alike = torch.full((7,), 0.1)
    labels = torch.arange(7) % 2
    said = torch.stack([alike, alike + 0.1])
    scores = measure((torch.zeros(2, 7, 1), said), labels, alike, 0.5)
    assert scores["brightness_r2"].tolist() == [0, 0]
    lost = measure((torch.zeros(7, 1), alike * torch.nan), labels, alike, 0.5)
    assert math.isnan(lost["brightness_r2"])


def test_auxiliary_classes_by_hand() -> None:
    task = AuxTask("coat", "classification", ("a", "b", "c"))
    coat = torch.tensor([0, 0, 1])  # Of three images: the fourth has no label.
    said = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 3, 0]])
    scores = measure((LOGITS, said), LABELS, coat, 0.25, task=task)
    assert scores["coat_accuracy"].item() == pytest.approx(2 / 3)
    # One wrong answer; the most frequent class has one as well.
    assert scores["coat_skill"].item() == pytest.approx(0)
    right, wrong = math.log(math.exp(3) + 2) - 3, math.log(math.exp(3) + 2)
    expected = 0.75 * scores["log_loss"].item() + 0.25 * (2 * right + wrong) / 3
    assert scores["loss"].item() == pytest.approx(expected)
    lost = measure((LOGITS, said * torch.nan), LABELS, coat, 0.25, task=task)
    assert math.isnan(lost["coat_accuracy"])
    none = measure((LOGITS, torch.zeros(4, 0)), LABELS, torch.zeros(4).long(), 0.0, task=NO_TASK)
    assert not any("coat" in name or "none" in name for name in none)
