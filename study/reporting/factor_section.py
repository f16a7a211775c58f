"""The report on the factors: learning rate, auxiliary weight, importances, all at once."""

from collections.abc import Iterator

from study.analysis.importances import BEST, ENOUGH, importances, scored
from study.analysis.study_data import StudyData
from study.answers.auxiliary import HOW_CONTROLLED, task_error, trial_error
from study.answers.phrases import enumerate_words, share, show_weight
from study.reporting.comparison_tables import difference_text, estimate_text
from study.reporting.figures import factor_plots
from study.reporting.figures.parallel_plot import draw_parallel
from study.reporting.page import FigureWriter, Paragraph, Part, Table, isolated
from tl_core.config import FROZEN
from tl_core.text import pluralize

_UNKNOWN = ", so its effect is unknown"
VERDICTS = {
    "helped": "helped the classification",
    "hurt": "hurt the classification",
    "cannot tell": "has no clear effect on the classification with these seeds",
    "not learned": f"was not learned{_UNKNOWN}",
}
_UNSURE = f"is not shown to be learned{_UNKNOWN}"
"""In place of `not learned`, where it may have been."""
_NO_SCORE = Paragraph("No trial has a score yet.")


def learning_rate_parts(data: StudyData, figures: FigureWriter) -> Iterator[Part]:
    """Yield the score against the learning rate, mode by mode."""
    if not scored(data.search):
        yield _NO_SCORE
        return
    if not [r for r in scored(data.search) if r.config.lr is not None]:
        yield Paragraph("A probe has no learning rate.")
        return
    title = f"{data.subject}: learning rate"
    yield figures.add(
        "learning-rate",
        factor_plots.draw_learning_rates(data.search, data.settings.metric, data.labels, title),
        f"Validation score of {data.settings.backbone} against AdamW's learning rate, one panel "
        "for each mode; dark points have many training images. Among points of one colour, the "
        "best learning rate has the lowest score (the highest, where higher is better). If it is "
        "at an end of the range, a wider --lr may be better.",
    )


def aux_weight_parts(data: StudyData, figures: FigureWriter) -> Iterator[Part]:
    """Yield the auxiliary task's effect on the classification."""
    task = data.settings.task
    if task.kind == "none":
        yield Paragraph("There is no auxiliary task (--aux none).")
        return
    effects = data.findings.effects(data.classification, task)
    for effect in effects:
        # Beside a verdict that nothing is shown, an arrow in another score would read as one.
        decides = effect.verdict in ("helped", "hurt") or effect.costs
        rows = [
            [
                d.score,
                difference_text(d) if decides and i == 0 else estimate_text(d.estimate, "+"),
                str(d.estimate.n),
            ]
            for i, d in enumerate(effect.differences.values())
        ]
        unsure = effect.verdict == "not learned" and effect.may_be_learned
        verdict = _UNSURE if unsure else VERDICTS[effect.verdict]
        if effect.verdict == "not learned" and effect.costs:
            verdict = verdict.replace(_UNKNOWN, ", and yet hurt the classification")
        yield Table(
            ["test score", "difference", "seeds"],
            rows,
            f"{effect.cell.mode} at {effect.cell.train_ratio:g} with aux_weight "
            f"{show_weight(effect.aux_weight, '.3g')}, minus aux_weight 0"
            f"{HOW_CONTROLLED[effect.tuned]}: paired by seed, with 95 % interval. "
            "The first score decides, and it alone may have an arrow (▲ better, ▼ worse): the task "
            f"{verdict}. With it, "
            f"{isolated(task.shown)} is predicted on the test images with {task_error(effect)}.",
        )
    # The task can't change how frozen features are classified, and a probe has no weight.
    searched = [r for r in data.search if r.config.mode not in FROZEN]
    if not scored(searched or data.search):
        yield _NO_SCORE
        return
    weights = {r.config.aux_weight for r in searched}
    if len(weights) < 2:
        if not effects:
            text = "All trials of the search have "
            text += (
                f"aux_weight {show_weight(weights.pop(), '.3g')}: there is no comparison."
                if weights
                else "frozen features, and the auxiliary task can't change how they are classified."
            )
            if data.winner and (learned := trial_error(data.winner, task)):
                text += f" Trial {data.winner.trial} predicts {isolated(task.shown)} on the test "
                text += f"images with {learned}."
            yield Paragraph(text)
        return
    title = f"{data.subject}: auxiliary weight"
    yield figures.add(
        "aux-weight",
        factor_plots.draw_aux_weights(searched, data.classification, task, data.labels, title),
        f"Validation scores of {data.settings.backbone}: classification (left) and "
        f"{isolated(task.shown)} (middle) against aux_weight, and one against the other (right). "
        "Larger points have more training images. If the auxiliary task helps, points of one size "
        "get better to the right in the left panel; if it is a trade-off, the right panel has a "
        "slope.",
    )


def _left_out(factors: list[str]) -> str:
    why = "Not shown, as with shuffled scores they have as much"
    return f" {why}: {enumerate_words(factors)}." if factors else ""


def importance_parts(data: StudyData, figures: FigureWriter) -> Iterator[Part]:
    """Yield Optuna's importances, then all factors of all trials."""
    n, found = len(scored(data.search)), importances(data.settings, data.search)
    clear = {name: i.share for name, i in found.items() if i.beyond_chance}
    others = [name for name in found if name not in clear]
    if clear:
        yield figures.add(
            "importances",
            factor_plots.draw_importances(clear, f"{data.subject}: importance of the factors"),
            f"How much each factor decided whether a trial of {data.settings.backbone} was among "
            f"the best {share(BEST)} of {n} in {data.settings.metric} (Optuna's PED-ANOVA). A "
            "learning rate counts in the trials of its mode; trials that were stopped early count "
            "with their last score. The search tries good regions more often, so the importances "
            "describe these trials and not the whole search space."
            f"{_left_out(others)}",
        )
    else:
        why = f"{pluralize(n, 'trial has', 'trials have')} a score, and {ENOUGH} are needed"
        if n >= ENOUGH:
            why = "none is more than with shuffled scores" if found else "no factor was varied"
        yield Paragraph(f"Importances of the factors are not shown: {why}.")
    if data.search:
        title = f"{data.subject}: {pluralize(len(data.search), 'trial')} of the search"
        gap = (
            " A probe has no learning rate: its line stops at train_ratio and begins again at "
            "aux_weight."
        ) * ({"probe"} < {r.config.mode for r in data.search})
        yield figures.add(
            "parallel-coordinates",
            draw_parallel(data.search, data.settings.metric, data.labels, title),
            f"Each line is a trial of {data.settings.backbone}, from its mode to its validation "
            "score; higher is better. Follow the bold lines from right to left: a factor matters "
            "where they are close together, and does not where they spread."
            f"{gap}",
        )
