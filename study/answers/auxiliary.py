"""What the auxiliary task did to the classification, in sentences."""

from collections.abc import Sequence

from study.analysis.comparisons import MultiTask
from study.answers.imbalance import LOG_LOSS
from study.answers.phrases import (
    MODE_WORDS,
    enumerate_words,
    number,
    score_words,
    seeds,
    share,
    show_difference,
    show_weight,
)
from study.intervals.estimate import Estimate
from study.records.trial_record import TrialRecord
from tl_core.aux_task import AuxTask, AuxWeight
from tl_core.config import FROZEN, Mode

_LOWER = " (lower is better)"
_EFFECTS = {"helped": "helped", "hurt": "hurt", "cannot tell": "has no clear effect"}
"""What a learned task did to the classification, by its verdict."""

HOW_CONTROLLED = {
    True: ", each in the best of its repeated configurations",
    False: " at the same learning rate",
}
"""Which configuration the control has, by whether it was tuned."""


def auxiliary_effect(found: MultiTask, others: Sequence[MultiTask] = ()) -> str:
    """Say how the auxiliary task changed the classification, compared with the control.

    `others` are the same at other ratios.
    """
    given = f"at weight {show_weight(found.aux_weight, '.2g')}"
    where = f"{MODE_WORDS[found.cell.mode]} with {share(found.cell.train_ratio)} of the images"
    learned, task = task_error(found), _task(found.task)
    sure = found.skill.low is None or found.skill.low > 0
    if found.verdict == "not learned":
        said = f"was not learned {given}: {where} predicts it no better than a constant"
        if found.may_be_learned:
            said = f"is not shown to be learned {given}: {where} is not shown to predict it better "
            said += "than a constant"
        return " ".join((
            f"{task} {said} ({learned}).",
            _cost_unlearned(found, where, given) or "So whether it helps is unknown.",
            *(_elsewhere(other) for other in others),
        ))  # fmt: skip
    changes = [
        f"the {score_words(d.score)}{_LOWER if d.score == LOG_LOSS else ''} by "
        f"{show_difference(d.score, d.estimate)}"
        for d in found.differences.values()
    ]
    n = next(iter(found.differences.values())).estimate.n
    effect = _EFFECTS[found.verdict]
    if found.verdict == "cannot tell":
        effect += f" with {seeds(n)}"
    return " ".join((
        f"{task} {effect}.",
        f"In {where}, {given} it changed {enumerate_words(changes)}, compared with weight 0"
        f"{HOW_CONTROLLED[found.tuned]}.",
        f"The task {'was learned' if sure else 'is not shown to be learned'} ({learned}).",
        *(_elsewhere(other) for other in others),
    ))  # fmt: skip


def _cost_unlearned(found: MultiTask, where: str, given: str) -> str:
    """Say that a task that is not learned makes the classification worse, if that is shown.

    Its weight takes from the classification's, whatever it teaches.
    """
    d = next(iter(found.differences.values()))
    if not found.costs:
        return ""
    lower = _LOWER if d.score == LOG_LOSS else ""
    return (
        f"Yet it hurt: in {where}, {given} it changed the {score_words(d.score)}{lower} by "
        f"{show_difference(d.score, d.estimate)}, compared with weight 0"
        f"{HOW_CONTROLLED[found.tuned]}; --aux none leaves it out."
    )


def _elsewhere(found: MultiTask) -> str:
    where = f"With {share(found.cell.train_ratio)} of the images"
    if found.verdict == "not learned":
        shown = "is not shown to be" if found.may_be_learned else "was not"
        return f"{where} it {shown} learned{', and yet hurt' if found.costs else ''}."
    decisive = next(iter(found.differences.values()))
    changed = show_difference(decisive.score, decisive.estimate)
    name = score_words(decisive.score)
    return f"{where} it {_EFFECTS[found.verdict]}: the {name} changed by {changed}."


def _task(task: AuxTask) -> str:
    return f"The auxiliary task, predicting {task.shown},"


def task_error(found: MultiTask) -> str:
    """The error on the test images in the task's own unit, beside that of a constant, and R2.

    Of classes, the constant is that of the skill, which the verdict goes by: the most frequent
    class of the test images, which may be another than that of the training images.
    """
    return _error(found.task, found.error.mean, found.baseline, found.skill)


def trial_error(record: TrialRecord, task: AuxTask) -> str | None:
    """Likewise of a single trial; None if it has read no test set, or did not learn the task."""
    c = record.config
    names = [f"test_{name}" for name in task.scores]
    if not {*names} <= record.test.keys() or not names or (c.mode != "probe" and not c.aux_weight):
        return None
    error, skill = (record.test[name] for name in names)
    baseline = record.test.get(f"{names[0]}_baseline")
    return _error(task, error, baseline, Estimate(skill, None, None, c.seeds))


def _error(task: AuxTask, error: float, baseline: float | None, skill: Estimate) -> str:
    if task.kind == "classification":
        base = baseline
        if skill.mean < 1:  # 1 - skill: the wrong answers as a share of those of the constant.
            base = 1 - (1 - error) / (1 - skill.mean)
        against = "" if base is None else f", {100 * base:.1f} % for the most frequent class"
        return f"accuracy {100 * error:.1f} %{against}"
    against = f", {_in_unit(task, baseline)} for the training mean" if baseline else ""
    unit = " on a scale of 0 to 1" if task.bounds else " in the column's unit"
    return f"mean error {_in_unit(task, error)}{unit}{against}, R2 {number(skill)}"


def _in_unit(task: AuxTask, error: float) -> str:
    # `#` keeps the last 0, so 22.3 is compared with 26.0; and it leaves a point behind 123.
    return f"{error:.3f}" if task.bounds else f"{error:#.3g}".removesuffix(".")


def no_auxiliary_effect(
    aux_weights: Sequence[AuxWeight],
    best: Mode,
    chosen: AuxWeight,
    tried: Sequence[Mode],
    task: AuxTask,
    unfinished: bool = False,
) -> str:
    """Say why the auxiliary task's effect is unknown.

    `best` is the best trial's mode, and `chosen` its weight; `unfinished` is whether the study has
    trials left to run after the search, controls among them.
    """
    if task.kind == "none":
        return "There is no auxiliary task (--aux none)."
    if {*tried} <= {*FROZEN}:
        return (
            f"{_task(task)} can't change how frozen features are "
            "classified, because the two heads share no weights; only a trained network could "
            "show an effect."
        )
    whether = f"Whether the auxiliary task, predicting {task.shown}, helps"
    weight = show_weight(chosen, ".2g")
    if unfinished and {*aux_weights} != {0.0}:
        return f"{whether} is not known yet: the trials that compare it have not run."
    if len(aux_weights) == 1:
        return f"{whether} was not searched: its weight was fixed at {weight}."
    if best in FROZEN:
        return (
            f"{whether} is unknown: the best configuration is {MODE_WORDS[best]}, which it can't "
            "change, and no confirming trials compare another with and without it."
        )
    return (
        f"{whether} is unknown: the best configuration gives it weight {weight}, and no confirming "
        f"trials compare that with {'weight 0' if chosen else 'a weight above 0'}."
    )
