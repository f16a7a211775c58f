"""What a mode gains with more labels, how few are enough, and which mode overtakes another."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from study.analysis.comparisons import Cells, Difference, difference
from study.analysis.estimates import CellSummary, by_cell
from study.analysis.extrapolation import TIMES
from study.analysis.findings import Findings
from study.analysis.label_efficiency import Crossover, LabelsSaved
from study.answers.imbalance import ACCURACY, decisive, label_score
from study.answers.phrases import (
    MODE_WORDS,
    capitalize,
    enumerate_words,
    one_ratio,
    only_one,
    points,
    score_words,
    share,
    show_difference,
    show_score,
)
from study.answers.sentences import show_gap
from study.search.cells import Cell
from tl_core.config import Metric, Mode
from tl_core.text import pluralize

NO_CURVE = (
    "What more labels than the study's would buy is not told in macro F1: the curve that would be "
    "extended is that of an error rate, and 1 - F1 is none."
)
"""In place of `more_labels`, where accuracy would be extended."""


def label_gain(
    mode: Mode,
    findings: Findings,
    metric: Metric = "val_log_loss",
    doubts: Mapping[Cell, str] = MappingProxyType({}),
) -> str:
    """Say what the mode gains with more labels, how few are enough, and which mode overtakes.

    And what more labels than the study's would buy, if its cells tell. All this is in accuracy, or
    in the score that `metric` asks for, with the gain in accuracy beside it; if that is no share,
    only the gain is told in it. `doubts` is as returned by `tuning_doubts`.
    """
    curve = [s for s in findings.cells if s.mode == mode]
    least, most = curve[0], curve[-1]
    if least is most:
        return one_ratio(mode, most.train_ratio)
    scores, cells = decisive(findings.cells, metric), by_cell(findings.confirmed)
    doubted = [(s.train_ratio, doubts[s.cell]) for s in (least, most) if s.cell in doubts]
    gains = [difference(cells, most.cell, least.cell, score) for score in scores]
    low, high = (
        f"{show_score(scores[0], s.scores[scores[0]])} with {share(s.train_ratio)}"
        for s in (least, most)
    )
    score, name = label_score(findings.cells, metric)
    where = f"in {name}, " if name else ""
    # That no mode overtakes another is no news.
    seen = [c for c in findings.crossovers(score) if c.status == "seen"]
    return " ".join((
        f"{_gain(gains[0])}: {MODE_WORDS[mode]} goes from {low} of the images to {high}"
        f"{_last_step(curve, gains[0], cells)}.",
        *(f"In accuracy the change is {points(d.estimate, '+')}." for d in gains[1:] if d),
        *_by_tuning(doubted if gains[0] else []),
        *(capitalize(where + said) for said in _saving(mode, findings.labels_saved(score))),
        *(capitalize(where + _overtaking(c)) for c in seen if mode in (c.before, c.after)),
        *filter(None, [more_labels(mode, findings, metric)]),
    ))  # fmt: skip


def more_labels(mode: Mode, findings: Findings, metric: Metric = "val_log_loss") -> str | None:
    """Say what labels beyond those of the study would buy; None if its cells do not tell."""
    score, name = label_score(findings.cells, metric)
    if score == "test_macro_f1":
        return NO_CURVE if findings.beyond(mode) else None
    if (found := findings.beyond(mode, score)) is None:
        return None
    twice, four = (points(found.gains[times]) for times in TIMES)
    where = f"in {name}, " if name else ""
    given = f"with twice the labels of {share(found.train_ratio)} of the images, {MODE_WORDS[mode]}"
    if found.flat:
        said = (
            f"{given} is not shown to gain, at {twice} if its curve goes on as it did, and with "
            f"four times at {four}."
        )
    else:
        said = (
            f"{given} is expected to gain {twice}, and with four times {four}, if its curve goes "
            "on as it did."
        )
    return capitalize(where + said)


def _gain(d: Difference | None) -> str:
    if d is None:
        return "Whether more labels help is unknown, because no seed is in both results"
    which = "" if d.score == ACCURACY else f" in {score_words(d.score)}"
    if d.verdict == "better":
        return f"More labels gain {show_gap(d)}{which}"
    if d.verdict == "worse":
        return f"More labels lose {show_gap(d)}{which}"
    at = show_difference(d.score, d.estimate)
    if not d.estimate.tells:
        one = only_one(d.estimate)
        return f"{one} does not show whether more labels help{which}, at a change of {at}"
    return f"Whether more labels help{which} is unclear, at a change of {at}"


def _last_step(curve: Sequence[CellSummary], gain: Difference | None, cells: Cells) -> str:
    """Say that the last step of a curve that rises loses, or that no gain is shown."""
    if len(curve) < 3 or gain is None or gain.verdict != "better":
        return ""
    before, most = curve[-2:]
    step = difference(cells, most.cell, before.cell, gain.score)
    if step is None or step.verdict == "better":
        return ""
    given = f"; the step from {share(before.train_ratio)} to {share(most.train_ratio)}"
    if step.verdict == "worse":
        return f"{given} loses {show_gap(step)}"
    change = show_difference(step.score, step.estimate)
    return f"{given} is not shown to add to this, at a change of {change}"


def with_fewer(best: CellSummary, findings: Findings, metric: Metric) -> str | None:
    """Say what it means that the winner has fewer labels than others; None if it has the most.

    Where a curve is flat, a cell with few labels often wins by luck.
    """
    if best.train_ratio == max(s.train_ratio for s in findings.cells):
        return None
    *_, most = (s for s in findings.cells if s.mode == best.mode)
    score = decisive(findings.cells, metric)[0]
    d = difference(by_cell(findings.confirmed), most.cell, best.cell, score)
    if d and d.verdict == "worse":
        which = "" if score == ACCURACY else f" of {score_words(score)}"
        return f"With {share(most.train_ratio)} it is worse by {show_gap(d)}{which}."
    return "That it scored best with this share is no advice to leave out labels."


def _by_tuning(doubts: Sequence[tuple[float, str]]) -> Iterator[str]:
    """Say that a gain may be from better tuning: the best of few trials is often a bad one."""
    alike: dict[str, list[str]] = {}
    for ratio, doubt in doubts:
        alike.setdefault(doubt, []).append(f"with {share(ratio)}")
    if alike:
        why = [f"{enumerate_words(where)} {doubt}" for doubt, where in alike.items()]
        yield f"Tuning may be a part of this: {enumerate_words(why)}."


def _saving(mode: Mode, saved: list[LabelsSaved]) -> list[str]:
    """Name the fewest labels that match all of this mode's, or else all of another mode's.

    It is one of many comparisons, so that it is better is not said: only a match is shown.
    """
    found = [s.match for s in saved if s.match and s.match.a.train_ratio < s.ratio_b]
    matches = [d for d in found if d.b.mode == mode] or [d for d in found if d.a.mode == mode]
    if not matches:
        return []
    d = min(matches, key=lambda d: (d.a.train_ratio, -d.estimate.mean))
    few, many = (f"{MODE_WORDS[c.mode]} with {share(c.train_ratio)}" for c in (d.a, d.b))
    if d.estimate.sign > 0:
        gap = points(d.estimate, "+")
        return [f"{few} is no worse than {many}, at a difference of {gap}."]
    within = f"within {pluralize(round(100 * saved[0].margin), 'point')}"
    return [f"{few} matches {many} {within}, at a difference of {points(d.estimate)}."]


def _overtaking(c: Crossover) -> str:
    percents = (100 * (x or 0) for x in (c.ratio, c.low, c.high))
    at, low, high = (f"{x:.2g} %" if x < 10 else f"{x:.0f} %" for x in percents)
    return (
        f"{MODE_WORDS[c.after]} overtakes {MODE_WORDS[c.before]} with about {at} "
        f"of the images ({low} to {high})."
    )
