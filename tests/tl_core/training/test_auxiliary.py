"""The auxiliary task in training: missing labels, images without a class, classes, and none."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.support.core.trials import CPU, STILL, Trials, untimed
from tl_core.aux_task import NO_TASK, AuxTask
from tl_core.config import Mode, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.given.aux_labels import AuxLabels
from tl_core.inference.serialization import load_model
from tl_core.inference.winner import save_winner
from tl_core.inputs.unlabelled import Unlabelled, aux_table
from tl_core.models.heads import Heads, TwoHeadedNet, choose
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import Weighting
from tl_core.training.learners.net import NetLearner, Part
from tl_core.training.optimizers import fused_adamw
from tl_core.training.schedule import Budget
from tl_core.training.setup import Inputs, TrialSetup
from tl_core.training.sweep import run_sweep

NETS: tuple[Mode, ...] = ("finetune", "scratch", "lp_ft")


def with_labels(trials: Trials, aux: AuxLabels) -> Trials:
    images = replace(trials.images, own_aux=aux)
    return Trials(images, trials.cache, trials.weights)  # type: ignore[arg-type]


def numbers(images: ImageSet, missing: Sequence[int] = ()) -> AuxLabels:
    values = np.linspace(10, 50, len(images.labels), dtype=np.float32)
    values[list(missing)] = np.nan
    return AuxLabels(AuxTask("age", "regression"), values)


def classes(images: ImageSet, n: int) -> AuxLabels:
    task = AuxTask("coat", "classification", tuple("abcd"[:n]))
    return AuxLabels(task, np.arange(len(images.labels)) % n)


def run(trials: Trials, mode: str, **given: Any) -> Any:
    name = trials.images.aux.task.name
    return trials.run(mode, **{"read_test": True, "aux": name, "aux_weight": 0.5, **given})


@pytest.mark.parametrize("mode", [*NETS, "freeze"])
def test_a_column_that_repeats_brightness_gives_its_numbers(trials: Trials, mode: str) -> None:
    own = AuxLabels(AuxTask("light", "regression"), trials.images.brightness)
    expected = run(trials, mode)
    found = run(with_labels(trials, own), mode)
    for one, other in zip(untimed(found), untimed(expected), strict=True):
        ours = {name.replace("light", "brightness"): v for name, v in one.plain().items()}
        assert ours == other.plain()


@pytest.mark.parametrize("mode", NETS)
def test_without_weight_other_images_change_nothing(trials: Trials, mode: str) -> None:
    own = with_labels(trials, numbers(trials.images))
    plain = run(own, mode, aux_weight=0.0, train_ratio=0.3, aux_on="labelled")
    found = run(own, mode, aux_weight=0.0, train_ratio=0.3, aux_on="all")
    for one, other in zip(untimed(found), untimed(plain), strict=True):
        kept = [{n: v for n, v in m.plain().items() if "age" not in n} for m in (one, other)]
        if mode == "lp_ft":  # Its auxiliary head has another start, which is in no other number.
            kept = [{n: v for n, v in m.items() if n != "val_loss"} for m in kept]
        assert kept[0] == kept[1]


@pytest.mark.parametrize("mode", [*NETS, "freeze"])
def test_other_images_teach_the_task(trials: Trials, mode: str) -> None:
    own = with_labels(trials, numbers(trials.images, missing=[0, 3, 8]))
    labelled = run(own, mode, train_ratio=0.1, aux_on="labelled").history[-1].aux
    found = run(own, mode, train_ratio=0.1, aux_on="all").history[-1].aux
    assert found["val_age_mae"] != labelled["val_age_mae"]
    assert all(map(np.isfinite, found.values()))


@pytest.mark.parametrize(("mode", "weight"), [
    *((mode, weight) for mode in (*NETS, "freeze") for weight in (0.0, 0.5)), ("probe", 0.0),
])  # fmt: skip
def test_a_subset_without_any_of_its_labels(trials: Trials, mode: str, weight: float) -> None:
    given = {"train_ratio": 0.1, "aux_on": "all", "aux_weight": weight}
    subset = trials.images.split(0.1, 0, 0).train.tolist()
    own = with_labels(trials, numbers(trials.images, missing=subset))
    found = run(own, mode, **given).history[-1]
    assert all(np.isfinite(value) for value in found.plain().values() if value is not None)
    if weight == 0:
        known = run(with_labels(trials, numbers(trials.images)), mode, **given).history[-1]
        assert found.val_log_loss == known.val_log_loss


def test_the_training_loss_counts_images_with_a_class_label_alike(trials: Trials) -> None:
    own = with_labels(trials, numbers(trials.images))
    inputs = Inputs(own.images, own.cache, CPU)
    # 14 images in batches of 8 and 6, each with 8 others; no step changes the heads.
    given = {"aux": "age", "aux_on": "all", "lr": STILL, "train_ratio": 0.35}
    configs = [own.config("freeze", aux_weight=w, **given) for w in (0.0, 0.25, 0.75)]
    assert TrialSetup(configs[1], inputs).n_train([0]) == 14
    none, some, much = (found.history[-1].train_loss for found in run_sweep(configs, inputs))
    (alone,) = run_sweep(configs[:1], inputs)
    assert none == alone.history[-1].train_loss, "to the bit, as no step sees the others"
    # From (1 - w) * classification + w * auxiliary loss.
    assert 1.5 * some - 0.5 * much == pytest.approx(none, rel=1e-4)


@pytest.mark.parametrize("n_labels", [4, 10])
def test_a_frozen_trial_has_the_numbers_that_it_has_alone(trials: Trials, n_labels: int) -> None:
    """Few labels: seeds have as few others as steps see, each its own number, or none."""
    images = trials.images
    teach = images.split(0.5, 0, 0)
    pool = np.setdiff1d(np.arange(len(images.labels)), [*teach.val, *teach.test])
    missing = np.random.default_rng(0).permutation(pool)[n_labels:]
    own = with_labels(trials, numbers(images, missing.tolist()))
    inputs = Inputs(own.images, own.cache, CPU)
    given = {"aux": "age", "aux_on": "all", "aux_weight": 0.5, "lr": 0.03}
    configs = [own.config("freeze", seed=seed, **given) for seed in range(5)]
    configs += [own.config("freeze", seed=2, seeds=3, **given)]
    n_extra = [TrialSetup(c, inputs).n_extra(range(c.seed, c.seed + c.seeds)) for c in configs]
    assert len({*n_extra}) > 1
    assert (0 in n_extra) == (n_labels < 10)
    for threads in (1, 3):
        together = run_sweep(configs, replace(inputs, threads=threads))
        for config, found in zip(configs, together, strict=True):
            (alone,) = run_sweep([config], inputs)
            ours, other = found.history[-1].plain(), alone.history[-1].plain()
            for name in ("train_loss", "val_loss", "val_log_loss", "val_age_mae"):
                assert ours[name] == pytest.approx(other[name], rel=1e-3), name


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("mode", ["finetune", "freeze", "probe", "partial"])
def test_a_task_of_classes(trials: Trials, mode: str, n: int) -> None:
    own = with_labels(trials, classes(trials.images, n))
    found = run(own, mode, train_ratio=0.3, aux_on="all")
    assert {*found.history[-1].aux} == {"val_coat_accuracy", "val_coat_skill"}
    assert 0 <= found.test["test_coat_accuracy"] <= 1
    assert found.outputs["test"].auxiliary.shape[-1] == (1 if n == 2 else n)


@pytest.mark.parametrize("mode", ["finetune", "freeze", "probe"])
def test_no_task_has_no_head_and_no_score(trials: Trials, mode: str) -> None:
    n = len(trials.images.labels)
    own = with_labels(trials, AuxLabels(NO_TASK, np.full(n, -1)))
    found = run(own, mode, aux_weight=0.0)
    assert found.net.heads.auxiliary is None
    assert found.history[-1].aux == {}
    expected = run(trials, mode, aux_weight=0.0).history[-1]
    # Products of one column and of two round differently.
    rel = 1e-5 if mode == "finetune" else 1e-4
    assert found.history[-1].val_log_loss == pytest.approx(expected.val_log_loss, rel=rel)
    with pytest.raises(ValueError, match="aux none has nothing to weight: aux_weight must be 0"):
        TrialConfig(mode="freeze", train_ratio=0.5, lr=1e-3, aux="none", aux_weight=0.5)


def test_a_configuration_and_its_images_have_the_same_task(trials: Trials) -> None:
    inputs = Inputs(trials.images, trials.cache, CPU)
    with pytest.raises(ValueError, match="images have aux brightness, config says age"):
        TrialSetup(trials.config("finetune", aux="age"), inputs)


def test_many_labels_of_the_task_teach_what_few_classes_do_not() -> None:
    """Known truth: the class is the sign of a direction that the auxiliary number gives."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 30)).astype(np.float32)
    number = rows @ rng.normal(size=30).astype(np.float32) / 30**0.5
    labels, train, other = (number > 0).astype(np.int64), np.arange(16), np.arange(16, 400)
    test = np.arange(400, 600)

    def accuracy(weight: float) -> float:
        torch.manual_seed(1)
        net = TwoHeadedNet(nn.Linear(30, 1), Heads(1, 2, AuxTask("n", "regression")))
        table = aux_table(np.ones(600, bool), [train], [other])
        assert table is not None
        one = NetLearner(
            net, torch.from_numpy(labels), torch.from_numpy(number), TargetScale.raw(1, CPU).one(),
            Weighting(weight), lambda epoch: train, Budget(1, 150, 1, "constant", 8, 8), 600,
            lambda views: torch.from_numpy(rows[views]), aux_weights=torch.from_numpy(table),
            extra=Unlabelled([other], [0], 8), task=AuxTask("n", "regression"),
        )  # fmt: skip
        one.train_part(1, fused_adamw([{"params": [*net.parameters()], "lr": 1e-2}]), Part())
        right = (one.predict(test).logits[:, 0] > 0).long() == torch.from_numpy(labels[test])
        return right.float().mean().item()

    assert accuracy(0.0) < 0.65
    assert accuracy(0.9) > 0.8


@pytest.mark.parametrize("n", [2, 3])
def test_a_model_says_the_class_of_its_task(trials: Trials, tmp_path: Path, n: int) -> None:
    aux = classes(trials.images, n)
    aux.values[[0, 5]] = -1
    own = with_labels(trials, aux)
    changes: dict[str, Any] = {"aux": "coat", "aux_weight": 0.5, "epochs": 1}
    result = own.run("finetune", read_test=True, **changes)
    learned = replace(result.history[-1], aux={"val_coat_skill": 0.1})
    result = replace(result, history=(learned,))
    save_winner(tmp_path, result, own.config("finetune", **changes), own.images)
    model = load_model(tmp_path)
    assert model.about.aux == aux.task
    assert model.about.learned == ("class", "coat")
    table = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    names = [*aux.task.classes, ""]
    assert table["coat"].tolist() == [names[k] for k in aux.values[result.split.test]]
    _, outputs = model.outputs(own.images.pixels, result.split.test)
    expected = [aux.task.classes[k] for k in choose(outputs).tolist()]
    assert table["predicted_coat"].tolist() == expected
    unlearned = replace(learned, aux={"val_coat_skill": 0.0})
    worse = replace(result, history=(unlearned,))
    save_winner(tmp_path, worse, own.config("finetune", **changes), own.images)
    table = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    assert set(table["predicted_coat"]) == {""}
    (note,) = load_model(tmp_path).notes
    assert note == (
        "no better than a constant at predicting coat (skill on validation <= 0), so it predicts "
        "none"
    )
