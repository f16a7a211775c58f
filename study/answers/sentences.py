"""The results of the confirming trials, one sentence for each question."""

from collections.abc import Iterator, Mapping, Sequence

from study.analysis.comparisons import Cells, Difference, difference
from study.analysis.estimates import CellSummary, by_cell
from study.analysis.extrapolation import TIMES
from study.analysis.findings import Findings
from study.analysis.label_efficiency import Crossover, LabelsSaved
from study.answers.phrases import (
    MODE_WORDS,
    at_rate,
    capitalize,
    change,
    enumerate_words,
    one_ratio,
    percent,
    points,
    share,
)
from study.search.cells import Cell
from tl_core.config import Mode
from tl_core.text import pluralize

LOG_LOSS = "test_log_loss"


def best_mode(
    subject: str,
    best: CellSummary,
    tried: Sequence[Mode],
    findings: Findings,
    few: Mapping[Cell, int],
) -> str:
    """Name the winner's mode and learning rate, and compare it with the modes tried at its ratio.

    `subject` is data and backbone, as `pets (600 images) with resnet18`; `few` are the cells that
    had too few trials, and how many.
    """
    rivals = [best.cell._replace(mode=mode) for mode in tried if mode != best.mode]
    found = [findings.difference(best.cell, rival) for rival in rivals]
    ahead = bool(found) and all(d is not None and d.verdict == "better" for d in found)
    only = "" if rivals else ", the only mode tried,"
    missing = [MODE_WORDS[r.mode] for r, d in zip(rivals, found, strict=True) if d is None]
    return " ".join((
        f"{capitalize(MODE_WORDS[best.mode])}{at_rate(best.lr)}{only} "
        f"{'is best' if ahead else 'scored best on validation'} on {subject}.",
        f"Its test accuracy is {percent(best.scores['test_accuracy'])} with "
        f"{share(best.train_ratio)} of the images for training.",
        *_comparisons([d for d in found if d], by_cell(findings.confirmed), few),
        *_by_log_loss([d for d in found if d and d.verdict == "cannot tell"], findings),
        *([f"There is no result for {enumerate_words(missing)}."] if missing else []),
    ))  # fmt: skip


def label_gain(mode: Mode, findings: Findings) -> str:
    """Say what the mode gains with more labels, how few are enough, and which mode overtakes.

    And what more labels than the study's would buy, if its cells tell.
    """
    curve = [s for s in findings.cells if s.mode == mode]
    least, most = curve[0], curve[-1]
    if least is most:
        return one_ratio(mode, most.train_ratio)
    gain = difference(by_cell(findings.confirmed), most.cell, least.cell, "test_accuracy")
    # That no mode overtakes another is no news.
    seen = [c for c in findings.crossovers if c.status == "seen"]
    return " ".join((
        f"{_gain(gain)}: {MODE_WORDS[mode]} goes from {_at(least)} of the images to {_at(most)}.",
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


def _at(s: CellSummary) -> str:
    return f"{percent(s.scores['test_accuracy'])} with {share(s.train_ratio)}"


def _comparisons(found: list[Difference], cells: Cells, few: Mapping[Cell, int]) -> list[str]:
    """Compare the winner with the other modes at its ratio, one sentence for each verdict."""
    sentences = []
    for verdict, position, by in (
        ("better", "is ahead of", "by"),
        ("cannot tell", "is not distinguishable from", "at a difference of"),
        ("worse", "is behind", "by"),
    ):
        alike = [d for d in found if d.verdict == verdict]
        gaps = [-d.estimate if verdict == "worse" else d.estimate for d in alike]
        named = [_rival(d, cells, few) for d in alike]
        modes = [f"{rival} {by} {points(e)}" for rival, e in zip(named, gaps, strict=True)]
        sentences += [f"It {position} {enumerate_words(modes)}."] if modes else []
        if apart := [d.b.mode for d in alike if verdict == "cannot tell" and d.estimate.sign]:
            which = enumerate_words([MODE_WORDS[mode] for mode in apart])
            sentences.append(
                f"The interval for {which} leaves out 0, but it is one of several comparisons, and "
                "counted together (Holm) they do not tell the two apart."
            )
    return sentences


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


def _rival(d: Difference, cells: Cells, few: Mapping[Cell, int]) -> str:
    borrowed = next(iter(cells[d.b].values())).borrowed_from
    notes = [f"settings borrowed from {share(borrowed)}"] if borrowed else []
    notes += [f"hardly tuned: {pluralize(few[d.b], 'trial')}"] if d.b in few else []
    return MODE_WORDS[d.b.mode] + (f" ({', '.join(notes)})" if notes else "")


def _gain(d: Difference | None) -> str:
    if d is None:
        return "Whether more labels help is unknown, because no seed is in both results"
    if d.verdict == "better":
        return f"More labels gain {points(d.estimate)}"
    if d.verdict == "worse":
        return f"More labels lose {points(-d.estimate)}"
    return f"Whether more labels help is unclear, at a change of {points(d.estimate, '+')}"


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
        f"{capitalize(MODE_WORDS[c.after])} overtakes {MODE_WORDS[c.before]} at about {at} "
        f"({low} to {high})."
    )
