"""The study's answer: three sentences, made from the numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from study.comparisons import Cells, Difference, MultiTask, difference, multi_task
from study.estimates import CellSummary, Confirmed, by_cell, summarize
from study.labels import MARGIN, Crossover, LabelsSaved, crossovers, labels_saved
from study.phrases import (
    MODE_WORDS,
    capital,
    change,
    enumerate_words,
    percent,
    points,
    reverse,
    seeds,
    share,
)
from study.records import TrialRecord, best_of
from tl_core.config import DIRECTIONS, MODES, Metric, Mode

Answer = tuple[str, str, str]


@dataclass(frozen=True)
class About:
    """What the sentences must name, whatever became of the trials."""

    data: str
    """Name of the data set."""
    images: int
    """All images of it."""
    backbone: str
    metric: Metric
    """What the search went by."""
    aux_weights: tuple[float | Literal["auto"], ...]
    """What aux_weight could be: one value, a range or choices."""

    def __str__(self) -> str:
        return f"on {self.data} ({self.images:,} images) with {self.backbone}"


def answer(about: About, records: Sequence[TrialRecord], confirmed: Sequence[Confirmed]) -> Answer:
    """Return the three sentences: which mode, what labels buy, what the auxiliary task did.

    Args:
        about: the study.
        records: the trials of the search; the winner is chosen by their validation scores.
        confirmed: the confirming trials; none of them if confirming was skipped, and then the
            sentences go by validation scores and say that they are unconfirmed.
    """
    if not confirmed:
        return _unconfirmed(about, list(records))
    best, cells = winner(about.metric, records, confirmed), by_cell(confirmed)
    modes = {r.config.mode for r in records} | {cell.mode for cell in cells}
    return (
        _which(about, best, [mode for mode in MODES if mode in modes], cells),
        _labels(best, cells, confirmed),
        _auxiliary(about, best.aux_weight, multi_task(confirmed)),
    )


def winner(
    metric: Metric, records: Iterable[TrialRecord], confirmed: Iterable[Confirmed]
) -> CellSummary:
    """Return the confirmed cell whose configuration was best in the search, by validation."""
    values = {r.trial: r.value(metric) or 0.0 for r in records}
    sign = 1 if DIRECTIONS[metric] == "min" else -1
    return min(
        summarize(confirmed),
        key=lambda cell: (sign * values[cell.source], cell.borrowed_from is not None),
    )


def _which(about: About, best: CellSummary, modes: list[Mode], cells: Cells) -> str:
    others = {
        mode: difference(cells, best.cell, best.cell._replace(mode=mode), "test_accuracy")
        for mode in modes
        if mode != best.mode
    }
    ahead = all(d is not None and d.verdict == "better" for d in others.values())
    lead = "does best" if ahead else "scored best in the search"
    alone = "" if others else ", the only mode tried,"
    told = "".join(f", {_against(mode, d)}" for mode, d in others.items())
    accuracy = best.scores["test_accuracy"]
    return (
        f"{capital(str(about))}, {MODE_WORDS[best.mode]}{alone} {lead} at learning rate "
        f"{best.lr:.2g}: its test accuracy over {seeds(accuracy.n)} is {percent(accuracy)} with "
        f"{share(best.train_ratio)} of the images to train on{told}."
    )


def _against(mode: Mode, d: Difference | None) -> str:
    """How the winner stands against another mode at the same ratio."""
    word = MODE_WORDS[mode]
    if d is None:
        return f"with no result for {word} to hold it against"
    if d.verdict == "better":
        return f"ahead of {word} by {points(d.estimate)}"
    if d.verdict == "worse":
        return f"behind {word} by {points(reverse(d.estimate))}"
    cheaper = ", which costs less," if mode == "freeze" else ""
    return f"not to be told apart from {word}{cheaper} at a difference of {points(d.estimate)}"


def _labels(best: CellSummary, cells: Cells, confirmed: Sequence[Confirmed]) -> str:
    curve = [s for s in summarize(confirmed) if s.mode == best.mode]
    if len(curve) == 1:
        return _one_ratio(best.mode, best.train_ratio)
    least, most = curve[0], curve[-1]
    gain = difference(cells, most.cell, least.cell, "test_accuracy")
    saved = [s for s in labels_saved(confirmed) if s.a == best.mode]
    crossed = [c for c in crossovers(confirmed) if best.mode in (c.before, c.after)]
    told = [_saving(saved), *([_crossing(crossed)] if crossed else [])]
    return (
        f"{_gain(gain)}: {MODE_WORDS[best.mode]} goes from "
        f"{percent(least.scores['test_accuracy'])} accuracy with {share(least.train_ratio)} of the "
        f"images to {percent(most.scores['test_accuracy'])} with {share(most.train_ratio)}; "
        f"{' and '.join(told)}."
    )


def _one_ratio(mode: Mode, ratio: float) -> str:
    return (
        f"What more labels would buy can't be said, since {MODE_WORDS[mode]} has results with "
        f"{share(ratio)} of the images only."
    )


def _gain(d: Difference | None) -> str:
    if d is None:
        return "Whether more labels pay can't be said for want of a common seed"
    if d.verdict == "cannot tell":
        return f"Whether more labels pay can't be told, at a gain of {points(d.estimate)}"
    if d.verdict == "worse":
        return f"More labels do harm, a loss of {points(reverse(d.estimate))}"
    return f"More labels buy {points(d.estimate)}"


def _saving(saved: list[LabelsSaved]) -> str:
    """The match that saves most, and rather one with another mode than one with itself."""
    matches = [s.match for s in saved if s.match and s.match.a.train_ratio < s.ratio_b]
    if not matches:
        return f"no smaller share is shown to match the largest to within {100 * MARGIN:g} point"
    d = min(matches, key=lambda d: (d.a.mode == d.b.mode, d.a.train_ratio / d.b.train_ratio))
    other = "the largest" if d.a.mode == d.b.mode else f"{MODE_WORDS[d.b.mode]}"
    ours, theirs = share(d.a.train_ratio), share(d.b.train_ratio)
    if d.verdict == "better":
        return f"{ours} do better than {other} with {theirs} by {points(d.estimate)}"
    return (
        f"with {ours} it matches {other} with {theirs} to within {100 * MARGIN:g} point, at a "
        f"difference of {points(d.estimate)}"
    )


def _crossing(crossed: list[Crossover]) -> str:
    seen = [_overtaking(c) for c in crossed if c.status == "seen"]
    if seen:
        return enumerate_words(seen)
    if all(c.status == "none seen" for c in crossed):
        return "no mode is seen to overtake another as labels grow"
    return "whether one mode overtakes another as labels grow is not resolved"


def _overtaking(c: Crossover) -> str:
    low = share(c.low) if c.low else "less than was tried"
    high = share(c.high) if c.high else "more than was tried"
    return (
        f"{MODE_WORDS[c.after]} overtakes {MODE_WORDS[c.before]} at about {share(c.ratio or 0)} "
        f"({low} to {high})"
    )


def _auxiliary(about: About, chosen: float | str, found: MultiTask | None) -> str:
    if found:
        return _verdict(found)
    if len(about.aux_weights) == 1:
        return (
            "Whether the auxiliary task, predicting brightness, helps was not searched: its weight "
            f"was fixed at {_weight(about.aux_weights[0])}."
        )
    why = "so there is nothing to hold it against" if chosen == 0 else "and no control has a result"
    return (
        "Whether the auxiliary task, predicting brightness, helps is open: the best configuration "
        f"gives it the weight {_weight(chosen)}, {why}."
    )


def _verdict(m: MultiTask) -> str:
    n = m.accuracy.estimate.n
    effect = {
        "helped": "helped",
        "hurt": "hurt",
        "mixed": "helped by one measure and hurt by the other",
        "cannot tell": f"neither helped nor hurt as far as {seeds(n)} can tell",
    }[m.verdict]
    return (
        f"The auxiliary task, predicting brightness, {effect}: its weight {_weight(m.aux_weight)} "
        f"against 0 in {MODE_WORDS[m.cell.mode]} with {share(m.cell.train_ratio)} of the images "
        f"changed accuracy by {points(m.accuracy.estimate)} and log loss by "
        f"{change(m.log_loss.estimate)}, with the brightness error changed by "
        f"{change(m.brightness_mae.estimate)}."
    )


def _weight(aux_weight: float | str) -> str:
    return aux_weight if isinstance(aux_weight, str) else f"{aux_weight:.2g}"


def _unconfirmed(about: About, records: list[TrialRecord]) -> Answer:
    best = best_of(records, about.metric)
    if best is None:
        return (
            f"There is no answer {about}, since no trial finished.",
            "What more labels would buy can't be said.",
            "Whether the auxiliary task, predicting brightness, helps can't be said either.",
        )
    return (
        _which_unconfirmed(about, best, records),
        _labels_unconfirmed(about, best.config.mode, records),
        _auxiliary(about, best.config.aux_weight, None),
    )


def _which_unconfirmed(about: About, best: TrialRecord, records: list[TrialRecord]) -> str:
    c = best.config
    others = [mode for mode in MODES if mode != c.mode and mode in {r.config.mode for r in records}]
    alone = "" if others else ", the only mode tried,"
    there = {mode: _best_at(about, records, mode, c.train_ratio) for mode in others}
    told = [f"{MODE_WORDS[mode]} {_accuracy(r)}" for mode, r in there.items()]
    against = f", against {enumerate_words(told)}" if told else ""
    return (
        f"Not confirmed on fresh seeds: {about}, {MODE_WORDS[c.mode]}{alone} scored best in the "
        f"search at learning rate {c.lr:.2g}, with a validation accuracy of {_accuracy(best)} over "
        f"{seeds(c.seeds)} with {share(c.train_ratio)} of the images to train on{against}."
    )


def _labels_unconfirmed(about: About, mode: Mode, records: list[TrialRecord]) -> str:
    ratios = sorted({r.config.train_ratio for r in records})
    found = [(x, r) for x in ratios if (r := _best_at(about, records, mode, x))]
    (least, first), (most, last) = found[0], found[-1]
    if least == most:
        return _one_ratio(mode, most)
    return (
        f"By the same unconfirmed scores {MODE_WORDS[mode]} goes from {_accuracy(first)} with "
        f"{share(least)} of the images to {_accuracy(last)} with {share(most)}, which says neither "
        "how many labels can be saved nor where modes change places."
    )


def _best_at(
    about: About, records: list[TrialRecord], mode: Mode, ratio: float
) -> TrialRecord | None:
    there = [r for r in records if (r.config.mode, r.config.train_ratio) == (mode, ratio)]
    return best_of(there, about.metric)


def _accuracy(record: TrialRecord | None) -> str:
    value = record.value("val_accuracy") if record else None
    return "no result" if value is None else f"{100 * value:.1f} %"
