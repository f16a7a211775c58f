"""The results of the confirming trials, one sentence for each question."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from study.analysis.comparisons import Cells, Difference, difference
from study.analysis.estimates import CellSummary, by_cell
from study.analysis.extrapolation import TIMES
from study.analysis.findings import Findings
from study.analysis.label_efficiency import Crossover, LabelsSaved
from study.analysis.study_data import asked_score
from study.answers.phrases import (
    MODE_WORDS,
    at_rate,
    capitalize,
    change,
    enumerate_words,
    one_ratio,
    points,
    score_words,
    share,
    show_difference,
    show_score,
)
from study.search.cells import Cell
from tl_core.config import Metric, Mode
from tl_core.text import pluralize

ACCURACY, LOG_LOSS = "test_accuracy", "test_log_loss"


def best_mode(
    subject: str,
    best: CellSummary,
    tried: Sequence[Mode],
    findings: Findings,
    few: Mapping[Cell, int],
    metric: Metric = "val_log_loss",
) -> str:
    """Name the winner's mode and learning rate, and compare it with the modes tried at its ratio.

    That is in accuracy, or first in the score that `metric` asks for.

    Args:
        subject: data and backbone, as `pets (600 images) with resnet18`.
        best: the winner.
        tried: modes.
        findings: of the study.
        few: the cells that had too few trials, and how many.
        metric: of the study.
    """
    rivals = [best.cell._replace(mode=mode) for mode in tried if mode != best.mode]
    scores = decisive([best], metric)
    # Each rival has a result in all scores or in none.
    found = [[findings.difference(best.cell, rival, s) for rival in rivals] for s in scores]
    ahead = bool(rivals) and all(d is not None and d.verdict == "better" for d in found[0])
    how = "is best" if ahead else f"scored best by validation {score_words(metric)}"
    only = "" if rivals else ", the only mode tried,"
    missing = [MODE_WORDS[r.mode] for r, d in zip(rivals, found[0], strict=True) if d is None]
    levels = [f"{score_words(s)} is {show_score(s, best.scores[s])}" for s in scores]
    # What a mode lacks is told once.
    names = {d.b: mode_words(d.b, by_cell(findings.confirmed), few) for d in found[0] if d}
    several = len(scores) > 1
    plain = {rival: MODE_WORDS[rival.mode] for rival in rivals}
    compared = [
        _comparisons([d for d in ds if d], names if ds is found[0] else plain, several)
        for ds in found
    ]
    unclear = [d for d in found[0] if d and d.verdict == "cannot tell" and not several]
    return " ".join((
        f"{capitalize(MODE_WORDS[best.mode])}{at_rate(best.lr)}{only} {how} on {subject}.",
        f"Its test {' and its '.join(levels)} with {share(best.train_ratio)} of the images for "
        "training.",
        *chain(*compared),
        *_by_log_loss(unclear, findings),
        *([f"There is no result for {enumerate_words(missing)}."] if missing else []),
    ))  # fmt: skip


def decisive(cells: Iterable[CellSummary], metric: Metric) -> tuple[str, ...]:
    """Return the test scores that verdicts are told in: accuracy, or first the one asked for.

    Earlier versions did not measure all of them.
    """
    asked = asked_score(metric)
    there = asked is not None and all(asked in s.scores for s in cells)
    return (asked, ACCURACY) if asked and there else (ACCURACY,)


def label_gain(
    mode: Mode,
    findings: Findings,
    metric: Metric = "val_log_loss",
    doubts: Mapping[Cell, str] = MappingProxyType({}),
) -> str:
    """Say what the mode gains with more labels, how few are enough, and which mode overtakes.

    And what more labels than the study's would buy, if its cells tell. All this is in accuracy; the
    gain is also, and first, in the score that `metric` asks for. `doubts` is as returned by
    `tuning_doubts`.
    """
    curve = [s for s in findings.cells if s.mode == mode]
    least, most = curve[0], curve[-1]
    if least is most:
        return one_ratio(mode, most.train_ratio)
    scores, cells = decisive(curve, metric), by_cell(findings.confirmed)
    doubted = [(s.train_ratio, doubts[s.cell]) for s in (least, most) if s.cell in doubts]
    gains = [difference(cells, most.cell, least.cell, score) for score in scores]
    low, high = (
        f"{show_score(scores[0], s.scores[scores[0]])} with {share(s.train_ratio)}"
        for s in (least, most)
    )
    # That no mode overtakes another is no news.
    seen = [c for c in findings.crossovers if c.status == "seen"]
    return " ".join((
        f"{_gain(gains[0])}: {MODE_WORDS[mode]} goes from {low} of the images to {high}.",
        *(f"In accuracy the change is {points(d.estimate, '+')}." for d in gains[1:] if d),
        *_by_tuning(doubted if gains[0] else []),
        *_saving(mode, findings.labels_saved),
        *(_overtaking(c) for c in seen if mode in (c.before, c.after)),
        *filter(None, [more_labels(mode, findings)]),
    ))  # fmt: skip


def more_labels(mode: Mode, findings: Findings) -> str | None:
    """Say what labels beyond those of the study would buy; None if its cells do not tell."""
    if (found := findings.beyond(mode)) is None:
        return None
    twice, four = (points(found.gains[times]) for times in TIMES)
    given = f"With twice the labels of {share(found.train_ratio)} of the images, {MODE_WORDS[mode]}"
    if found.flat:
        return (
            f"{given} is not shown to gain: the curve is flat within its interval, at {twice}, and "
            f"at {four} with four times the labels."
        )
    return (
        f"{given} is expected to gain {twice}, and with four times {four}, if its curve goes on "
        "as it did."
    )


def _comparisons(
    found: Sequence[Difference], names: Mapping[Cell, str], several: bool
) -> Iterator[str]:
    """Compare the winner with the other modes at its ratio, one sentence for each verdict.

    `names` are those of the modes; `several` is whether they are compared by several scores.
    """
    for verdict, position, by in (
        ("better", "is ahead of", "by"),
        ("cannot tell", "is not distinguishable from", "at a difference of"),
        ("worse", "is behind", "by"),
    ):
        alike = [d for d in found if d.verdict == verdict]
        start = f"by {score_words(alike[0].score)}, " if several and alike else ""
        if modes := [f"{names[d.b]} {by} {show_gap(d)}" for d in alike if d.estimate.n > 1]:
            yield capitalize(f"{start}it {position} {enumerate_words(modes)}.")
        if alone := [f"from {names[d.b]} is {show_gap(d)}" for d in alike if d.estimate.n == 1]:
            yield (
                f"One seed does not show whether modes differ: {start}the difference of these "
                f"networks {enumerate_words(alone)}."
            )
        if apart := [d.b.mode for d in alike if verdict == "cannot tell" and d.estimate.sign]:
            which = enumerate_words([MODE_WORDS[mode] for mode in apart])
            yield (
                f"The interval for {which} does not contain 0, but it is one of several "
                "comparisons, and counted together (Holm) the two are not distinguishable."
            )


def show_gap(d: Difference) -> str:
    """Return a difference: above 0 if there is a verdict, which says who is ahead."""
    if d.verdict == "cannot tell":
        return show_difference(d.score, d.estimate, "")
    return show_difference(d.score, d.estimate if d.estimate.sign > 0 else -d.estimate, "")


def _by_log_loss(alike: Sequence[Difference], findings: Findings) -> Iterator[str]:
    """Compare the winner by log loss with modes that accuracy can't tell from it."""
    found = [d for one in alike if (d := findings.difference(one.a, one.b, LOG_LOSS))]
    # A lower loss is better, so a lead is a difference below 0.
    ahead = [(d.b, -d.estimate) for d in found if d.verdict == "better"]
    behind = [(d.b, d.estimate) for d in found if d.verdict == "worse"]
    for position, gaps in (("ahead of", ahead), ("behind", behind)):
        modes = [f"{MODE_WORDS[b.mode]} by {change(gap, sign='')}" for b, gap in gaps]
        if modes:
            why = "By log loss, which also counts how sure a network is,"
            yield f"{why} it is {position} {enumerate_words(modes)}."


def mode_words(cell: Cell, cells: Cells, few: Mapping[Cell, int]) -> str:
    """Return a cell's mode with what it lacks, as `freezing (too few trials: 2)`."""
    borrowed = next(iter(cells[cell].values())).borrowed_from
    notes = [f"settings borrowed from {share(borrowed)}"] if borrowed else []
    notes += [f"too few trials: {few[cell]}"] if cell in few else []
    return MODE_WORDS[cell.mode] + (f" ({', '.join(notes)})" if notes else "")


def _gain(d: Difference | None) -> str:
    if d is None:
        return "Whether more labels help is unknown, because no seed is in both results"
    which = "" if d.score == ACCURACY else f" in {score_words(d.score)}"
    if d.verdict == "better":
        return f"More labels gain {show_gap(d)}{which}"
    if d.verdict == "worse":
        return f"More labels lose {show_gap(d)}{which}"
    at = show_difference(d.score, d.estimate)
    if d.estimate.n == 1:
        return f"One seed does not show whether more labels help{which}, at a change of {at}"
    return f"Whether more labels help{which} is unclear, at a change of {at}"


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
        return [f"{capitalize(few)} is no worse than {many}, at a difference of {gap}."]
    within = f"within {pluralize(round(100 * saved[0].margin), 'point')}"
    return [f"{capitalize(few)} matches {many} {within}, at a difference of {points(d.estimate)}."]


def _overtaking(c: Crossover) -> str:
    percents = (100 * (x or 0) for x in (c.ratio, c.low, c.high))
    at, low, high = (f"{x:.2g} %" if x < 10 else f"{x:.0f} %" for x in percents)
    return (
        f"{capitalize(MODE_WORDS[c.after])} overtakes {MODE_WORDS[c.before]} with about {at} "
        f"of the images ({low} to {high})."
    )
