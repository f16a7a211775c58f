"""The best mode by the confirming trials, and how modes compare, at its ratio and at others."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from study.analysis.comparisons import Cells, Difference
from study.analysis.estimates import CellSummary, by_cell
from study.analysis.findings import Findings
from study.analysis.study_data import asked_score, of_classification
from study.answers.imbalance import LOG_LOSS, decisive
from study.answers.phrases import (
    MODE_WORDS,
    at_rate,
    capitalize,
    change,
    enumerate_words,
    only_one,
    score_words,
    seeds,
    share,
    show_difference,
    show_score,
    show_value,
)
from study.search.cells import Cell
from tl_core.config import Metric, Mode


def best_mode(
    subject: str,
    best: CellSummary,
    tried: Sequence[Mode],
    findings: Findings,
    few: Mapping[Cell, int],
    metric: Metric = "val_log_loss",
    unconfirmed: Collection[Cell] = (),
    means: Mapping[Cell, float] = MappingProxyType({}),
    untried: bool = False,
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
        unconfirmed: the cells with confirming trials that have not ended.
        means: of the metric over the fresh seeds, which has chosen the winner, the best first.
        untried: whether the study has modes of which no trial has run.
    """
    rivals = [best.cell._replace(mode=mode) for mode in tried if mode != best.mode]
    scores = decisive(findings.cells, metric)
    # Each rival has a result in all scores or in none.
    found = [[findings.difference(best.cell, rival, s) for rival in rivals] for s in scores]
    ahead = all(d is not None and d.verdict == "better" for d in found[0])
    # One that was hardly tuned, or not tried, might be better than the winner.
    ahead = ahead and bool(rivals) and not untried and not any(rival in few for rival in rivals)
    how = "is best"
    if not ahead:
        shown = _on_fresh_seeds(best, findings, metric, means) if best.cell in means else ""
        how = f"scored best by validation {score_words(metric)}{shown}"
    only = "" if rivals else ", the only mode tried,"
    missing = [rival for rival, d in zip(rivals, found[0], strict=True) if d is None]
    levels = [f"{score_words(s)} is {show_score(s, best.scores[s])}" for s in scores]
    # What a mode lacks is told once.
    cells, several = by_cell(findings.confirmed), len(scores) > 1
    names = {d.b: mode_words(d.b, cells, few) for d in found[0] if d}
    own = mode_words(best.cell, cells, few)
    plain = {rival: MODE_WORDS[rival.mode] for rival in rivals}
    compared = [
        _comparisons([d for d in ds if d], names if ds is found[0] else plain, several)
        for ds in found
    ]
    pairs = zip(*found, strict=True)
    unclear = [ds[0] for ds in pairs if all(d and d.verdict == "cannot tell" for d in ds)]
    return " ".join((
        f"{capitalize(own)}{at_rate(best.lr)}{only} {how} on {subject}.",
        f"Its test {' and its '.join(levels)} with {share(best.train_ratio)} of the images for "
        "training.",
        *chain(*compared),
        *_by_log_loss([d for d in unclear if d], findings),
        *_missing(missing, cells, unconfirmed),
    ))  # fmt: skip


def _on_fresh_seeds(
    best: CellSummary, findings: Findings, metric: Metric, means: Mapping[Cell, float]
) -> str:
    """Return the winner's mean and that of the next mode at its ratio.

    Without them the answer seems to contradict the scores of the search.
    """
    rivals = (c for c in means if c.train_ratio == best.train_ratio and c != best.cell)
    shown = [best.cell, *([rival] if (rival := next(rivals, None)) else [])]
    n = [len(s.seeds) for s in findings.cells if s.cell in shown]
    first, *second = (show_value(metric, means[cell]) for cell in shown)
    then = [f", next {MODE_WORDS[shown[1].mode]} with {value}" for value in second]
    return f" ({first} on {seeds(*n, kind='fresh')}{''.join(then)})"


def _missing(rivals: Sequence[Cell], cells: Cells, unconfirmed: Collection[Cell]) -> Iterator[str]:
    """Say which modes have no confirmed result at the winner's ratio, or none on its seeds.

    The search may have one, and another ratio.
    """
    alike: dict[str, list[str]] = {}
    for cell in rivals:
        what = (
            "it has no seed in common{} with"
            if cell in cells
            else "there is no confirmed result{} for"
        )
        yet = " yet" if cell in unconfirmed else ""
        start = f"With {share(cell.train_ratio)} of the images {what.format(yet)}"
        alike.setdefault(start, []).append(MODE_WORDS[cell.mode])
    for start, modes in alike.items():
        yield f"{start} {enumerate_words(modes)}."


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
        if modes := [f"{names[d.b]} {by} {show_gap(d)}" for d in alike if d.estimate.tells]:
            yield capitalize(f"{start}it {position} {enumerate_words(modes)}.")
        if alone := [d for d in alike if not d.estimate.tells]:
            gaps = [f"from {names[d.b]} is {show_gap(d)}" for d in alone]
            yield (
                f"{only_one(alone[0].estimate)} does not show whether modes differ: {start}the "
                f"difference of these networks {enumerate_words(gaps)}."
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
    """Compare the winner by log loss with modes that no other score tells from it."""
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


def other_ratios(
    best: CellSummary, findings: Findings, few: Mapping[Cell, int], metric: Metric
) -> str:
    """Say with which other shares a mode is ahead of the winner's, and which two others reverse.

    That is by the test score that corresponds to `metric`, or log loss for the loss of both tasks.
    Nothing if there are none: then the winner's mode is a good choice with fewer labels, too. `few`
    as for `best_mode`.
    """
    score = asked_score(metric) or of_classification(metric).replace("val_", "test_")
    found = [d for d in findings.differences(score) if d.verdict != "cannot tell"]
    found = [d for d in found if d.estimate.n > 1]
    sides = (d if d.a.mode == best.mode else -d for d in found)
    behind = [d for d in sides if d.a.mode == best.mode and d.verdict == "worse"]
    behind = [d for d in behind if d.a.train_ratio != best.train_ratio]
    others = [d for d in found if best.mode not in (d.a.mode, d.b.mode)]
    clauses = [*_ratios_behind(behind, findings, few), *_ratios_reversed(others)]
    return capitalize(f"by {score_words(score)}, {'; '.join(clauses)}.") if clauses else ""


def _ratios_behind(
    found: list[Difference], findings: Findings, few: Mapping[Cell, int]
) -> Iterator[str]:
    cells = by_cell(findings.confirmed)
    for cell in dict.fromkeys(d.a for d in found):
        rivals = [f"{mode_words(d.b, cells, few)} by {show_gap(d)}" for d in found if d.a == cell]
        yield (
            f"with {share(cell.train_ratio)} of the images {mode_words(cell, cells, few)} is "
            f"behind {enumerate_words(rivals)}"
        )


def _ratios_reversed(found: list[Difference]) -> Iterator[str]:
    pairs: dict[tuple[Mode, Mode], dict[str, list[str]]] = {}
    for d in found:
        by_verdict = pairs.setdefault((d.a.mode, d.b.mode), {})
        by_verdict.setdefault(d.verdict, []).append(share(d.a.train_ratio))
    for (a, b), shares in pairs.items():
        if len(shares) > 1:
            ahead, after = (enumerate_words(shares[verdict]) for verdict in ("better", "worse"))
            yield (
                f"{MODE_WORDS[a]} is ahead of {MODE_WORDS[b]} with {ahead} of the images, and "
                f"behind with {after}"
            )
