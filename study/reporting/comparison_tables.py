"""How modes compare: tables of differences, crossovers and labels saved, and intervals as text."""

from collections.abc import Sequence

from study.analysis.comparisons import Difference
from study.analysis.label_efficiency import Crossover
from study.answers.phrases import is_share, on_new, score_words
from study.intervals.estimate import Estimate
from study.reporting.page import Table


def difference_table(differences: Sequence[Difference]) -> Table:
    """Return the differences of one score, with arrows where there is a verdict."""
    pairs = list(dict.fromkeys((d.a.mode, d.b.mode) for d in differences))
    found = {(d.a.mode, d.b.mode, d.a.train_ratio): d for d in differences}
    texts = {place: difference_text(d) + _could_show(d) for place, d in found.items()}
    new = all(d.estimate.images for d in differences)
    where = on_new(differences[0].estimate) if new else "on these test images"
    return Table(
        ["train_ratio", *(f"{a} - {b}" for a, b in pairs)],
        [
            [f"{ratio:g}", *(texts.get((a, b, ratio), "") for a, b in pairs)]
            for ratio in sorted({d.a.train_ratio for d in differences})
        ],
        f"Paired differences in {differences[0].score}{_told(differences, where)}",
    )


def _told(differences: Sequence[Difference], where: str) -> str:
    """Explain what a table of these differences has."""
    if all(d.estimate.n == 1 for d in differences):
        if any(d.estimate.low is None for d in differences):
            return f" {where}, with one seed, which gives no interval and so no verdict."
        return (
            f" with 95 % interval {where}. With one seed, it is the interval of these networks, "
            "and there is no verdict on the modes."
        )
    if differences[0].estimate.one_group:
        return f" with 95 % interval {where}, of one group, so there are no verdicts."
    adjusted = (
        "The chance of a wrong arrow is about 5 % at most."
        if len(differences) == 1
        else f"Arrows are Holm-adjusted for the {len(differences)} comparisons of this table: the "
        "chance of one or more wrong arrows is about 5 % at most. So a single interval may exclude "
        "zero and have no arrow."
    )
    return (
        f" with 95 % interval {where}. ±: the smallest difference that these images and seeds "
        "could have shown. An arrow means that the modes differ: ▲ the first is better, ▼ it is "
        f"worse. {adjusted}"
    )


def _could_show(d: Difference) -> str:
    """The half width; with two seeds it may be above any difference of two shares."""
    half = d.estimate.half_width
    if half is None:
        return ""
    return f" ±{min(half, 1.0) if is_share(d.score) else half:.3f}"


def crossover_table(found: Sequence[Crossover], score: str, n_seeds: int) -> Table:
    """Return where the modes of each pair change places, and how sure that is.

    One seed gives no intervals.
    """
    return Table(
        ["mode", "overtakes", "at train_ratio", "95 % interval", "crossover"],
        [[c.after, c.before, *_place(c, n_seeds), c.status] for c in found],
        f"Where one mode overtakes another in {score}, for each pair: where a line "
        "through the differences is zero, with Fieller's interval. Seen: the interval lies within "
        "the studied ratios, and by the arrows of the differences one mode is ahead at a ratio "
        "below it, the other at one above it. None seen: the line is zero nowhere, and one mode is "
        "shown to be ahead at a ratio or more, the other at none. Not resolved: neither.",
    )


def _place(c: Crossover, n_seeds: int) -> tuple[str, str]:
    if c.ratio is None:
        return "none" if c.status == "none seen" else "", ""
    if c.low is None and c.high is None:
        return f"{c.ratio:.2g}", "unbounded" if n_seeds > 1 else interval_text(None, None)
    low = f"{c.low:.2g}" if c.low is not None else "below all tried"
    high = f"{c.high:.2g}" if c.high is not None else "above all tried"
    return f"{c.ratio:.2g}", f"{low} to {high}"


def saved_table(matches: Sequence[Difference], margin: float) -> Table:
    """Return the pairs of cells of which the first matches the second, within this margin."""
    rows = []
    for d in matches:
        few, many = (f"{cell.mode} at {cell.train_ratio:g}" for cell in (d.a, d.b))
        rows.append([few, many, estimate_text(d.estimate, "+")])
    what = score_words(matches[0].score)
    return Table(
        ["few labels", "match many", f"difference in {what}"],
        rows,
        f"Labels saved: the smallest ratio whose {what} is shown to be less than {margin:g} "
        "behind, with a chance of at most 2.5 % of any false match with the same goal.",
    )


def estimate_text(e: Estimate, sign: str = "") -> str:
    """Return a mean and its interval with three decimals; a line break fits only between them."""
    return f"{e.mean:{sign}z.3f} {interval_text(e.low, e.high)}"


def interval_text(low: float | None, high: float | None) -> str:
    """Return an interval, without places for a line break."""
    text = "(one seed)" if low is None or high is None else f"({low:z.3f} to {high:z.3f})"
    return text.replace(" ", chr(0xA0))


def difference_text(d: Difference) -> str:
    """Return a difference, with an arrow if there is one by its verdict."""
    mark = {"better": "▲ ", "worse": "▼ ", "cannot tell": ""}[d.verdict]
    return mark + estimate_text(d.estimate, "+")
