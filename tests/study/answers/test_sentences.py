from dataclasses import replace

import pytest

from study.analysis.comparisons import Difference, MultiTask
from study.analysis.estimates import Confirmed, summarize
from study.analysis.findings import Findings
from study.analysis.label_efficiency import Crossover
from study.answers.auxiliary import auxiliary_effect, no_auxiliary_effect, task_error
from study.answers.labels import label_gain
from study.answers.sentences import best_mode
from study.intervals.estimate import Estimate
from study.search.cells import Cell
from tests.support.studies.builders import make_confirmed
from tl_core.aux_task import NO_TASK, AuxTask
from tl_core.config import Metric, Mode


def test_auxiliary_task_at_two_ratios() -> None:
    def task(ratio: float, low: float, r2: float, tuned: bool) -> MultiTask:
        cell = Cell("finetune", ratio)
        change = Estimate(-0.02, low, -0.01, 5, images=60)
        by_score = {"test_log_loss": Difference(cell, cell, "test_log_loss", change)}
        learned = Estimate(r2, None, None, 5)
        return MultiTask(cell, 0.3, by_score, learned, Estimate(0.04, None, None, 5), 0.12, tuned)

    assert auxiliary_effect(task(0.8, -0.03, 0.9, True), [task(0.1, -0.03, -0.1, False)]) == (
        "The auxiliary task, predicting brightness, helped. In fine-tuning with 80 % of the "
        "images, at weight 0.3 it changed the log loss (lower is better) by -0.020 (-0.030 to "
        "-0.010), compared with weight 0, each in the best of its repeated configurations. The "
        "task was learned (mean error 0.040 on a scale of 0 to 1, 0.120 for the training mean, "
        "R2 0.90). With 10 % of the images it was not learned."
    )
    unclear = task(0.8, -0.03, 0.2, True)
    unclear = replace(unclear, skill=Estimate(0.2, -0.1, 0.45, 5, images=60))
    assert auxiliary_effect(unclear).endswith(
        "The task is not shown to be learned (mean error 0.040 on a scale of 0 to 1, 0.120 for the "
        "training mean, R2 0.20 (-0.10 to 0.45))."
    )
    unlearned = auxiliary_effect(task(0.8, -0.03, -0.1, True))
    assert unlearned.startswith(
        "The auxiliary task, predicting brightness, was not learned at weight 0.3: fine-tuning "
        "with 80 % of the images predicts it no better than a constant (mean error 0.040"
    )
    assert unlearned.endswith("R2 -0.10). So whether it helps is unknown.")


def test_an_interval_without_0_that_many_comparisons_make_unsure() -> None:
    cells: list[tuple[Mode, tuple[float, ...]]] = [
        ("finetune", (0.90, 0.94, 0.92)), ("freeze", (0.86, 0.88, 0.87)),
        ("partial", (0.90, 0.94, 0.91)), ("scratch", (0.91, 0.91, 0.92)),
    ]  # fmt: skip
    confirmed = [c for mode, x in cells for c in make_confirmed(mode, 0.4, x)]
    best = next(s for s in summarize(confirmed) if s.mode == "finetune")
    text = best_mode("pets", best, [mode for mode, _ in cells], Findings(confirmed), {})
    assert text.endswith(
        "The interval for freezing does not contain 0, but it is one of several comparisons, and "
        "counted together (Holm) the two are not distinguishable."
    )


def test_modes_without_a_result_at_the_winners_ratio() -> None:
    trials = make_confirmed("finetune", 0.4, (0.9, 0.94)) + make_confirmed("partial", 0.1, (0.9,))
    best = next(s for s in summarize(trials) if s.mode == "finetune")
    modes: list[Mode] = ["finetune", "partial", "scratch"]
    text = best_mode("pets", best, modes, Findings(trials), {}, unconfirmed=[Cell("partial", 0.4)])
    assert text.endswith(
        "With 40 % of the images there is no confirmed result yet for partial fine-tuning. With "
        "40 % of the images there is no confirmed result for training from scratch."
    )


def test_modes_with_results_on_other_seeds_than_the_winners() -> None:
    trials = [
        *make_confirmed("finetune", 0.4, (0.9, 0.94), seeds=[11, 12]),
        *make_confirmed("freeze", 0.4, (0.95,), seeds=[10]),
    ]
    best, cells = summarize(trials)[-1], [Cell("freeze", 0.4)]
    for unconfirmed, yet in (([], ""), (cells, " yet")):
        told = best_mode(
            "pets", best, ["freeze", "finetune"], Findings(trials), {}, unconfirmed=unconfirmed
        )
        said = f" With 40 % of the images it has no seed in common{yet} with freezing."
        assert told.endswith(f"for training.{said}")


def balanced(
    mode: Mode, accuracies: tuple[float, ...], wanted: tuple[float, ...]
) -> list[Confirmed]:
    """Trials whose accuracies and balanced accuracies differ."""
    trials = make_confirmed(mode, 0.4, accuracies)
    return [
        replace(c, scores=c.scores | {"test_balanced_accuracy": x})
        for c, x in zip(trials, wanted, strict=True)
    ]


def test_the_score_that_was_asked_for_decides() -> None:
    confirmed = [
        *balanced("finetune", (0.90, 0.91, 0.92), (0.80, 0.81, 0.82)),
        *balanced("freeze", (0.93, 0.95, 0.94), (0.70, 0.71, 0.71)),
    ]
    best, findings = summarize(confirmed)[-1], Findings(confirmed)
    modes: list[Mode] = ["finetune", "freeze"]
    few = {Cell("freeze", 0.4): 2}
    assert best_mode("pets", best, modes, findings, few, "val_balanced_accuracy") == (
        "Fine-tuning at learning rate 0.001 scored best by validation balanced accuracy on pets. "
        "Its test balanced accuracy is 81.0 % (78.5 to 83.5 %) and its accuracy is 91.0 % (88.5 to "
        "93.5 %) with 40 % of the images for training. By balanced accuracy, it is ahead of "
        "freezing (too few trials: 2) by 10.3 points (8.9 to 11.8). By accuracy, it is behind "
        "freezing by 3.0 points (0.5 to 5.5)."
    )
    assert best_mode("pets", best, modes, findings, {}, "val_balanced_accuracy").startswith(
        "Fine-tuning at learning rate 0.001 is best on pets."
    )
    # Accuracy decides if no other score was asked for, and of the default nothing more is told.
    assert best_mode("pets", best, modes, findings, few).startswith(
        "Fine-tuning at learning rate 0.001 scored best by validation log loss on pets. Its test "
        "accuracy is 91.0 % (88.5 to 93.5 %) with 40 % of the images for training. It is behind "
        "freezing (too few trials: 2) by 3.0 points ("
    )
    # A trial of an earlier version did not measure the score.
    earlier = make_confirmed("finetune", 0.4, (0.90, 0.91, 0.92))
    old = best_mode(
        "pets", summarize(earlier)[0], ["finetune"], Findings(earlier), {}, "val_balanced_accuracy"
    )
    assert old.endswith(
        "Its test accuracy is 91.0 % (88.5 to 93.5 %) with 40 % of the images for training."
    )


def test_a_score_without_upper_limit_decides_downwards() -> None:
    def told(mode: Mode, errors: tuple[float, ...]) -> list[Confirmed]:
        trials = make_confirmed(mode, 0.4, (0.9, 0.91, 0.92))
        return [
            replace(c, scores=c.scores | {"test_brightness_mae": x})
            for c, x in zip(trials, errors, strict=True)
        ]

    confirmed = [*told("finetune", (0.1, 0.11, 0.12)), *told("freeze", (0.2, 0.21, 0.23))]
    best = summarize(confirmed)[-1]
    found = best_mode(
        "pets", best, ["finetune", "freeze"], Findings(confirmed), {}, "val_brightness_mae"
    )
    assert "is best on pets. Its test brightness MAE is 0.110 (0.085 to 0.135) and its acc" in found
    assert "By brightness MAE, it is ahead of freezing by 0.103 (0.089 to 0.118). By acc" in found


def test_log_loss_is_told_where_neither_score_can_tell() -> None:
    def told(mode: Mode, scores: tuple[float, ...], losses: tuple[float, ...]) -> list[Confirmed]:
        trials = balanced(mode, scores, tuple(x + 0.02 for x in scores))
        return [
            replace(c, scores=c.scores | {"test_log_loss": x})
            for c, x in zip(trials, losses, strict=True)
        ]

    confirmed = [
        *told("finetune", (0.90, 0.94, 0.92), (0.1, 0.11, 0.12)),
        *told("freeze", (0.91, 0.92, 0.93), (0.3, 0.31, 0.33)),
    ]
    cells, findings = summarize(confirmed), Findings(confirmed)
    metric: Metric = "val_balanced_accuracy"
    modes: list[Mode] = ["finetune", "freeze"]
    (best,) = (c for c in cells if c.mode == "finetune")
    said = "which also counts how sure a network is, it is ahead of freezing by 0.203 (0.189 to 0."
    assert said in best_mode("pets", best, modes, findings, {}, metric)
    few = {best.cell: 2}
    assert best_mode("pets", best, modes, findings, few, metric).startswith(
        "Fine-tuning (too few trials: 2) at learning rate 0.001 scored best by validation"
    )


def test_a_last_step_without_a_gain_is_told() -> None:
    def gain(*accuracies: float) -> str:
        spread = (-0.01, 0.0, 0.01)
        pairs = zip((0.1, 0.4, 0.8), accuracies, strict=False)
        trials = [
            make_confirmed("freeze", ratio, [x + d * (1 + (ratio == 0.8)) for d in spread])
            for ratio, x in pairs
        ]
        return label_gain("freeze", Findings([c for cell in trials for c in cell]))

    assert (
        "with 80 %; the step from 40 % to 80 % is not shown to add to this, at a change of "
        "-0.4 points (-2.9 to +2.1)." in gain(0.6, 0.676, 0.672)
    )
    assert "; the step from 40 % to 80 % loses 7.0 points (4.5 to 9.5)." in gain(0.6, 0.8, 0.73)
    for rises in (gain(0.6, 0.676, 0.8), gain(0.6, 0.676)):
        assert rises.startswith("More labels gain")
        assert "step" not in rises


def test_the_gain_is_told_in_the_score_that_was_asked_for() -> None:
    few = balanced("freeze", (0.8, 0.81, 0.82), (0.5, 0.51, 0.52))
    many = balanced("freeze", (0.8, 0.82, 0.84), (0.6, 0.61, 0.61))
    trials = [*(replace(c, train_ratio=0.1) for c in few), *many]
    assert label_gain("freeze", Findings(trials), "val_balanced_accuracy").startswith(
        "More labels gain 9.7 points (8.2 to 11.1) in balanced accuracy: freezing goes from 51.0 % "
        "(48.5 to 53.5 %) with 10 % of the images to 60.7 % (59.2 to 62.1 %) with 40 %. In "
        "accuracy the change is +1.0 points (-1.5 to +3.5)."
    )


def test_a_gain_that_tuning_may_explain() -> None:
    trials = [c for x, y in ((0.1, 0.5), (0.4, 0.9)) for c in make_confirmed("freeze", x, (y, y))]
    few, end = "it had too few trials (2)", "the best learning rate lies at an end of its range"
    low, high = Cell("freeze", 0.1), Cell("freeze", 0.4)
    for doubts, said in (
        ({low: few, high: few}, f": with 10 % and with 40 % {few}."),
        ({low: few, high: end}, f": with 10 % {few} and with 40 % {end}."),
        ({low: end, Cell("probe", 0.4): few}, f": with 10 % {end}."),
    ):
        told = label_gain("freeze", Findings(trials), doubts=doubts)
        assert f"% (on every seed) with 40 %. Tuning may be a part of this{said}" in told
    assert "Tuning" not in label_gain("freeze", Findings(trials))


def of_task(task: AuxTask, skill: float, error: float, baseline: float | None) -> MultiTask:
    cell = Cell("finetune", 0.1)
    change = Estimate(0.02, 0.01, 0.03, 5, images=60)
    by_score = {"test_log_loss": Difference(cell, cell, "test_log_loss", change)}
    r2, own = (Estimate(value, None, None, 5) for value in (skill, error))
    return MultiTask(cell, 0.3, by_score, r2, own, baseline, True, task)


def test_words_and_units_come_from_the_task() -> None:
    age = of_task(AuxTask("age", "regression"), 0.5, 3.21, 6.25)
    assert task_error(age) == (
        "mean error 3.21 in the column's unit, 6.25 for the training mean, R2 0.50"
    )
    even = of_task(age.task, 0.5, 123.4, 26.0)
    assert task_error(even).startswith("mean error 123 in the column's unit, 26.0 for the training")
    said = auxiliary_effect(age)
    assert said.startswith("The auxiliary task, predicting age, hurt. In fine-tuning with 10 %")
    assert "brightness" not in said
    coat = of_task(AuxTask("coat", "classification", ("a", "b")), 0.5, 0.75, 0.5)
    assert task_error(coat) == "accuracy 75.0 %, 50.0 % for the most frequent class"
    worse = of_task(coat.task, -0.1, 0.45, 0.5)
    assert auxiliary_effect(worse) == (
        "The auxiliary task, predicting coat, was not learned at weight 0.3: fine-tuning with 10 % "
        "of the images predicts it no better than a constant (accuracy 45.0 %, 50.0 % for the most "
        "frequent class). Yet it hurt: in fine-tuning with 10 % of the images, at weight 0.3 it "
        "changed the log loss (lower is better) by +0.020 (+0.010 to +0.030), compared with weight "
        "0, each in the best of its repeated configurations; --aux none leaves it out."
    )
    # 30 % on test images of which 35 % are of one class; of the training images' class are 20 %.
    unsure = of_task(coat.task, 1 - 0.7 / 0.65, 0.3, 0.2)
    unsure = replace(unsure, skill=replace(unsure.skill, low=-0.8, high=0.68))
    assert auxiliary_effect(unsure, [unsure]) == (
        "The auxiliary task, predicting coat, is not shown to be learned at weight 0.3: "
        "fine-tuning with 10 % of the images is not shown to predict it better than a constant "
        "(accuracy "
        "30.0 %, 35.0 % for the most frequent class). Yet it hurt: in fine-tuning with 10 % of the "
        "images, at weight 0.3 it changed the log loss (lower is better) by +0.020 (+0.010 to "
        "+0.030), compared with weight 0, each in the best of its repeated configurations; "
        "--aux none leaves it out. With 10 % of the images it is not shown to be learned, and yet "
        "hurt."
    )
    early = no_auxiliary_effect(
        (0.0, 0.9), "finetune", 0.3, ["finetune"], age.task, unfinished=True
    )
    assert early == (
        "Whether the auxiliary task, predicting age, helps is not known yet: the trials that "
        "compare it have not run."
    )
    none = no_auxiliary_effect((0.0,), "finetune", 0.0, ["finetune"], NO_TASK)
    assert none == "There is no auxiliary task (--aux none)."


def test_ratios_of_crossovers_are_not_in_powers_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = (Cell("finetune", 0.01), Cell("finetune", 0.8))
    findings = Findings([c for cell in cells for c in make_confirmed(*cell, [0.9, 0.8])])
    for at, said in (
        ((0.62, 0.31, 0.997), "62 % of the images (31 % to 100 %)"),
        ((0.04, 0.0123, 0.126), "4 % of the images (1.2 % to 13 %)"),
    ):
        seen = Crossover("freeze", "finetune", "seen", *at)
        monkeypatch.setattr(Findings, "crossovers", lambda *_, seen=seen: [seen])
        told = label_gain("finetune", findings)
        assert f" Fine-tuning overtakes freezing with about {said}." in told
        told = label_gain("finetune", findings, "val_brightness_mae")
        assert f" In accuracy, fine-tuning overtakes freezing with about {said}." in told
