from dataclasses import replace

from study.analysis.comparisons import Difference, MultiTask
from study.analysis.estimates import summarize
from study.analysis.findings import Findings
from study.analysis.label_efficiency import Crossover
from study.answers.auxiliary import auxiliary_effect, no_auxiliary_effect, task_error
from study.answers.sentences import best_mode, label_gain
from study.intervals.estimate import Estimate
from study.search.cells import Cell
from tests.support.studies.builders import make_confirmed
from tl_core.aux_task import NO_TASK, AuxTask
from tl_core.config import Mode


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
        "-0.010), compared with weight 0, each in the best of the same configurations. The task "
        "was learned (mean error 0.040 on a scale of 0 to 1, 0.120 for the training mean, "
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
    assert unlearned.endswith("R2 -0.10). So whether it helps can't be told.")


def test_an_interval_without_0_that_many_comparisons_make_unsure() -> None:
    cells: list[tuple[Mode, tuple[float, ...]]] = [
        ("finetune", (0.90, 0.94, 0.92)), ("freeze", (0.86, 0.88, 0.87)),
        ("partial", (0.90, 0.94, 0.91)), ("scratch", (0.91, 0.91, 0.92)),
    ]  # fmt: skip
    confirmed = [c for mode, x in cells for c in make_confirmed(mode, 0.4, x)]
    best = next(s for s in summarize(confirmed) if s.mode == "finetune")
    text = best_mode("pets", best, [mode for mode, _ in cells], Findings(confirmed), {})
    assert text.endswith(
        "The interval for freezing leaves out 0, but it is one of several comparisons, and counted "
        "together (Holm) they do not tell the two apart."
    )


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
    said = auxiliary_effect(age)
    assert said.startswith("The auxiliary task, predicting age, hurt. In fine-tuning with 10 %")
    assert "brightness" not in said
    coat = of_task(AuxTask("coat", "classification", ("a", "b")), 0.5, 0.75, 0.5)
    assert task_error(coat) == "accuracy 75.0 %, 50.0 % for the most frequent class"
    worse = of_task(coat.task, -0.1, 0.45, 0.5)
    assert auxiliary_effect(worse) == (
        "The auxiliary task, predicting coat, was not learned at weight 0.3: fine-tuning with 10 % "
        "of the images predicts it no better than a constant (accuracy 45.0 %, 50.0 % for the most "
        "frequent class). So whether it helps can't be told."
    )
    # 30 % on test images of which 35 % are of one class; of the training images' class are 20 %.
    unsure = of_task(coat.task, 1 - 0.7 / 0.65, 0.3, 0.2)
    unsure = replace(unsure, skill=replace(unsure.skill, low=-0.8, high=0.68))
    assert auxiliary_effect(unsure, [unsure]) == (
        "The auxiliary task, predicting coat, is not shown to be learned at weight 0.3: "
        "fine-tuning with 10 % of the images is not shown to predict it better than a constant "
        "(accuracy "
        "30.0 %, 35.0 % for the most frequent class). So whether it helps can't be told. With 10 % "
        "of the images it is not shown to be learned."
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


def test_ratios_of_crossovers_are_not_in_powers_of_ten() -> None:
    cells = (Cell("finetune", 0.01), Cell("finetune", 0.8))
    findings = Findings([c for cell in cells for c in make_confirmed(*cell, [0.9, 0.8])])
    for at, said in (
        ((0.62, 0.31, 0.997), "62 % (31 % to 100 %)"),
        ((0.04, 0.0123, 0.126), "4 % (1.2 % to 13 %)"),
    ):
        vars(findings)["crossovers"] = [Crossover("freeze", "finetune", "seen", *at)]
        assert f"Fine-tuning overtakes freezing at about {said}." in label_gain(
            "finetune", findings
        )
