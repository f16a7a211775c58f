"""The report on the factors: learning rate, auxiliary weight, importances, all at once."""

from collections.abc import Iterator

from study.analysis.comparisons import MultiTask, multi_task
from study.analysis.importances import BEST, ENOUGH, importances, scored
from study.analysis.phrases import show_weight
from study.analysis.study_data import StudyData
from study.reporting.figures.factor_plots import (
    draw_aux_weights,
    draw_importances,
    draw_learning_rates,
)
from study.reporting.figures.parallel_plot import draw_parallel
from study.reporting.label_section import difference_text
from study.reporting.page import Painter, Part, Section, Table, Words
from tl_core.text import pluralize

VERDICTS = {
    "helped": "helped the classification",
    "hurt": "hurt the classification",
    "mixed": "made one score of the classification better and another worse",
    "cannot tell": "neither helped nor hurt the classification, as far as these seeds can tell",
}


def learning_rate_section(findings: StudyData, painter: Painter) -> Section:
    """Score against learning rate, mode by mode."""
    return Section("Learning rate", list(_learning_rate(findings, painter)))


def _learning_rate(findings: StudyData, painter: Painter) -> Iterator[Part]:
    if not scored(findings.search):
        yield Words("No trial has a score yet.")
        return
    metric = findings.settings.metric
    figure = draw_learning_rates(findings.search, metric, f"{findings.subject}: learning rate")
    yield painter.keep(
        "learning-rate",
        figure,
        f"Validation score of {findings.settings.backbone} against Adam's learning rate, one panel "
        "a mode, dark for many training images. Read along one colour: the best learning rate is "
        "at the bottom of its valley (at the top, where higher is better); if that is an end of "
        "the range, a wider --lr may do better.",
    )


def aux_weight_section(findings: StudyData, painter: Painter) -> Section:
    """What the auxiliary task does to the classification."""
    return Section("Auxiliary task", list(_aux_weight(findings, painter)))


def _aux_weight(findings: StudyData, painter: Painter) -> Iterator[Part]:
    verdict = multi_task(findings.confirmed)
    if verdict:
        yield _verdict_table(verdict)
    if not scored(findings.search):
        yield Words("No trial has a score yet.")
        return
    weights = {r.config.aux_weight for r in findings.search}
    if len(weights) == 1:
        weight = show_weight(weights.pop(), ".3g")
        yield Words(f"Every trial of the search had aux_weight {weight}, so none can be compared.")
        return
    title = f"{findings.subject}: auxiliary weight"
    yield painter.keep(
        "aux-weight",
        draw_aux_weights(findings.search, findings.classification, title),
        f"Validation scores of {findings.settings.backbone}: classification (left) and brightness "
        "error (middle) over aux_weight, and one against the other (right). The larger a point, "
        "the more training images. If the auxiliary task helped, points of one size would lie "
        "better on the left the further right they are; if it is a trade, the right panel slopes.",
    )


def _verdict_table(verdict: MultiTask) -> Table:
    rows = [
        [d.score, difference_text(d), str(d.estimate.n)]
        for d in (verdict.accuracy, verdict.log_loss, verdict.brightness_mae)
    ]
    return Table(
        ["test score", "difference", "seeds"],
        rows,
        f"{verdict.cell.mode} at {verdict.cell.train_ratio:g} with aux_weight "
        f"{show_weight(verdict.aux_weight, '.3g')}, minus the same with aux_weight 0: paired by "
        f"seed, with 95 % interval. ▲ better, ▼ worse, no arrow: the seeds can't tell. The task "
        f"{VERDICTS[verdict.verdict]}.",
    )


def importance_section(findings: StudyData, painter: Painter) -> Section:
    """Optuna's importances, and all factors of all trials at once."""
    parts: list[Part] = [*_importances(findings, painter)]
    if findings.search:
        title = f"{findings.subject}: {pluralize(len(findings.search), 'trial')} of the search"
        parts.append(
            painter.keep(
                "parallel-coordinates",
                draw_parallel(findings.search, findings.settings.metric, title),
                f"Each line is a trial of {findings.settings.backbone}, from its mode to its "
                "validation score, where higher up is better. Follow the bold lines backwards: "
                "where they bundle, the factor matters; where they spread, it does not.",
            )
        )
    return Section("Which factors matter", parts)


def _importances(findings: StudyData, painter: Painter) -> Iterator[Part]:
    n, found = len(scored(findings.search)), importances(findings.settings, findings.search)
    if not found:
        there = pluralize(n, "trial has", "trials have")
        why = f"{there} a score, of at least {ENOUGH} that it takes"
        why = why if n < ENOUGH else "no factor was varied"
        yield Words(f"Importances of the factors are not shown: {why}.")
        return
    yield painter.keep(
        "importances",
        draw_importances(found, f"{findings.subject}: importance of the factors"),
        f"How much each factor decided whether a trial of {findings.settings.backbone} was among "
        f"the best {BEST:.0%} of {n} in {findings.settings.metric} (Optuna's "
        "PED-ANOVA). Learning rates count where their mode was tried; trials stopped early count "
        "with the score that they had. The search tries good regions more often, so this is about "
        "these trials, not about all that could be tried.",
    )
