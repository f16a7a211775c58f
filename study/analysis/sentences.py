"""What confirming trials say, a sentence for each question."""

from collections.abc import Collection, Sequence

from study.analysis.comparisons import Cells, Difference, MultiTask, difference
from study.analysis.estimates import CellSummary, Confirmed, by_cell, summarize
from study.analysis.label_efficiency import MARGIN, Crossover, LabelsSaved, crossovers, labels_saved
from study.analysis.phrases import (
    MODE_WORDS,
    change,
    enumerate_words,
    one_ratio,
    percent,
    points,
    reverse,
    seeds,
    share,
    weight,
)
from tl_core.config import Mode

WITHIN = f"to within {100 * MARGIN:g} point"


def which(
    about: str, best: CellSummary, tried: Sequence[Mode], confirmed: Sequence[Confirmed]
) -> str:
    """Say which mode at which learning rate, and where it stands against the others there.

    Args:
        about: where and with what, as `pets (600 images) with resnet18`.
        best: the winner's cell.
        tried: the modes that the search had.
        confirmed: the confirming trials.
    """
    cells = by_cell(confirmed)
    rivals = [best.cell._replace(mode=mode) for mode in tried if mode != best.mode]
    found = [difference(cells, best.cell, rival, "test_accuracy") for rival in rivals]
    ahead = bool(found) and all(d is not None and d.verdict == "better" for d in found)
    told = _standing([d for d in found if d], cells)
    missing = [MODE_WORDS[r.mode] for r, d in zip(rivals, found, strict=True) if d is None]
    told += [f"with no result for {enumerate_words(missing)} there"] if missing else []
    accuracy = best.scores["test_accuracy"]
    mean = "mean and 95 % interval of" if accuracy.n > 1 else "no interval, from"
    return (
        f"On {about}, {MODE_WORDS[best.mode]}{'' if rivals else ', the only mode tried,'} "
        f"{'does best' if ahead else 'scored best in the search'} at learning rate {best.lr:.2g}: "
        f"its test accuracy ({mean} {seeds(accuracy.n)}) is {_at(best)} of the images for training"
        f"{''.join(f', {clause}' for clause in told)}."
    )


def labels(mode: Mode, confirmed: Sequence[Confirmed]) -> str:
    """Say what the mode gains with more labels, how few do as well, and who overtakes whom."""
    curve = [s for s in summarize(confirmed) if s.mode == mode]
    least, most = curve[0], curve[-1]
    if least is most:
        return one_ratio(mode, most.train_ratio)
    gain = difference(by_cell(confirmed), most.cell, least.cell, "test_accuracy")
    crossed = [c for c in crossovers(confirmed) if mode in (c.before, c.after)]
    told = [_saving(mode, labels_saved(confirmed)), *_crossing(crossed)]
    return (
        f"{_gain(gain)}: {MODE_WORDS[mode]} goes from {_at(least)} of the images to {_at(most)}; "
        f"{', and '.join(told)}."
    )


def auxiliary(found: MultiTask) -> str:
    """Say what the auxiliary task did to the classification, by the control without it."""
    n = found.accuracy.estimate.n
    effect = {
        "helped": "helped",
        "hurt": "hurt",
        "mixed": "helped by one measure and hurt by another",
        "cannot tell": f"neither helped nor hurt as far as {seeds(n)} can tell",
    }[found.verdict]
    return (
        f"The auxiliary task {effect}: predicting brightness too, at weight "
        f"{weight(found.aux_weight)} instead of 0, changed the accuracy of "
        f"{MODE_WORDS[found.cell.mode]} with {share(found.cell.train_ratio)} of the images by "
        f"{points(found.accuracy.estimate, '+')}, its log loss by "
        f"{change(found.log_loss.estimate)} and its brightness error by "
        f"{change(found.brightness_mae.estimate)}."
    )


def auxiliary_open(
    aux_weights: Sequence[float | str], chosen: float | str, tried: Collection[Mode]
) -> str:
    """Say why nothing is known of the auxiliary task's effect.

    Args:
        aux_weights: what the weight could be.
        chosen: what it is in the best configuration.
        tried: the modes that the search had.
    """
    if set(tried) == {"freeze"}:
        return (
            "The auxiliary task, predicting brightness, can't change how frozen features are "
            "classified, as the two heads share no weights; a network that learns would tell."
        )
    if len(aux_weights) == 1:
        return (
            "Whether the auxiliary task, predicting brightness, helps was not searched: its weight "
            f"was fixed at {weight(chosen)}."
        )
    why = "which leaves nothing to compare" if chosen == 0 else "with no result of a control at 0"
    return (
        "Whether the auxiliary task, predicting brightness, helps is open: the best configuration "
        f"gives it weight {weight(chosen)}, {why}."
    )


def _at(s: CellSummary) -> str:
    return f"{percent(s.scores['test_accuracy'])} with {share(s.train_ratio)}"


def _standing(found: list[Difference], cells: Cells) -> list[str]:
    """Where the winner stands against the other modes at its ratio, those alike together."""
    clauses = []
    for verdict, stands, by in (
        ("better", "ahead of", "by"),
        ("cannot tell", "not to be told apart from", "at a difference of"),
        ("worse", "but behind", "by"),
    ):
        alike = [d for d in found if d.verdict == verdict]
        gaps = [reverse(d.estimate) if verdict == "worse" else d.estimate for d in alike]
        told = [f"{_rival(d, cells)} {by} {points(e)}" for d, e in zip(alike, gaps, strict=True)]
        clauses += [f"{stands} {enumerate_words(told)}"] if told else []
    return clauses


def _rival(d: Difference, cells: Cells) -> str:
    notes = ["cheaper"] if d.b.mode == "freeze" and d.verdict == "cannot tell" else []
    borrowed = next(iter(cells[d.b].values())).borrowed_from
    notes += [f"settings borrowed from {share(borrowed)}"] if borrowed else []
    return MODE_WORDS[d.b.mode] + (f" ({', '.join(notes)})" if notes else "")


def _gain(d: Difference | None) -> str:
    if d is None:
        return "Whether more labels pay can't be told for want of a common seed"
    if d.verdict == "better":
        return f"More labels buy {points(d.estimate)}"
    if d.verdict == "worse":
        return f"More labels cost {points(reverse(d.estimate))}"
    return f"Whether more labels pay can't be told, at a change of {points(d.estimate, '+')}"


def _saving(mode: Mode, saved: list[LabelsSaved]) -> str:
    """How few labels do as well as all of the winner's; failing that, which others' all."""
    found = [s.match for s in saved if s.match and s.match.a.train_ratio < s.ratio_b]
    matches = [d for d in found if d.b.mode == mode] or [d for d in found if d.a.mode == mode]
    if not matches:
        return f"no smaller share is shown to match that {WITHIN}"
    d = min(matches, key=lambda d: (d.a.train_ratio, -d.estimate.mean))
    ours, theirs = (f"{MODE_WORDS[c.mode]} with {share(c.train_ratio)}" for c in (d.a, d.b))
    if d.verdict == "better":
        return f"{ours} outdoes {theirs} by {points(d.estimate)}"
    return f"{ours} matches {theirs} {WITHIN}, at a difference of {points(d.estimate)}"


def _crossing(crossed: list[Crossover]) -> list[str]:
    if not crossed:
        return []
    seen = [_overtaking(c) for c in crossed if c.status == "seen"]
    if seen:
        return seen
    if all(c.status == "none seen" for c in crossed):
        return ["no mode is seen to overtake another"]
    return ["whether one mode overtakes another is not resolved"]


def _overtaking(c: Crossover) -> str:
    at, low, high = (f"{100 * x:.2g} %" if x else None for x in (c.ratio, c.low, c.high))
    within = f"{low or 'below all tried'} to {high or 'above all tried'}"
    return f"{MODE_WORDS[c.after]} overtakes {MODE_WORDS[c.before]} at about {at} ({within})"
