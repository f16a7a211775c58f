"""The report on label efficiency: confirmed scores by mode and ratio, and how modes compare."""

from collections.abc import Iterator, Mapping, Sequence

from study.analysis.comparisons import Difference
from study.analysis.estimates import CellSummary
from study.analysis.label_efficiency import Crossover, pareto_front
from study.analysis.study_data import StudyData
from study.answers.phrases import on_new, score_words, seeds, test_images
from study.answers.sentences import LOG_LOSS, decisive, label_score
from study.intervals.estimate import Estimate
from study.reporting.figures.trial_plots import draw_label_efficiency, draw_trials
from study.reporting.page import FigureWriter, Paragraph, Part, Table
from study.search.cells import Cell
from tl_core.config import MODES
from tl_core.text import pluralize


def label_parts(data: StudyData, figures: FigureWriter) -> Iterator[Part]:
    """Yield confirmed test scores, if there are any, then every trial of the search on validation.

    The two are different scores on different images, so they never share an axis.
    """
    if data.confirmed:
        yield from _confirmed_parts(data, figures)
    else:
        yield Paragraph(
            "No cell was confirmed on fresh seeds. There are only the validation scores of single "
            "trials, which were selected because they were good: expect worse ones."
        )
    # The figure shows only trials that ended with a score, at their end or at an early stop.
    if not any(r.history and r.status in ("done", "pruned") for r in data.search):
        return
    if data.settings.objective == "pareto":
        yield _pareto_table(data)
    title = f"{data.subject}: {pluralize(len(data.search), 'trial')} of the search"
    yield figures.add(
        "trials",
        draw_trials(data.search, data.settings.metric, data.labels, title),
        f"Every trial of the search with {data.settings.backbone}, on the validation set that "
        "decides what is repeated and confirmed. Lines join the best trials of each mode. They "
        "were selected because they are good, so only test scores tell what more labels gain.",
    )


def _confirmed_parts(data: StudyData, figures: FigureWriter) -> Iterator[Part]:
    cells, metric = data.cells, data.settings.metric
    score, _ = label_score(cells, metric)
    scores = (*decisive(cells, metric), LOG_LOSS)[:2]
    title = f"{data.subject}: the chosen configuration of each cell, confirmed"
    accuracies = [c.scores["test_accuracy"] for c in cells]
    about = "photos of new groups" if all(e.groups for e in accuracies) else "new photos"
    images = all(e.images for e in accuracies)
    if max(len(c.seeds) for c in cells) > 1:
        n = seeds(*(len(c.seeds) for c in cells), kind="fresh")
        shown = f"mean and 95 % interval over {n}" + f" and {about}" * images
        if min(len(c.seeds) for c in cells) == 1:
            shown += "; with one seed, " + ("of this network" if images else "without interval")
    else:
        shown = "one fresh seed" + f", with the 95 % interval of its networks on {about}" * images
    modes = dict.fromkeys(c.mode for c in cells)
    beyond = [e for mode in modes if (e := data.findings.beyond(mode, score))]
    dashed = " Dashed: what two and four times the labels are expected to give, by a curve through "
    dashed = f"{dashed}the scores." if beyond else ""
    hollow = (
        " Hollow: no trial of the search has finished in this cell, so the configuration of the "
        "nearest ratio was used."
    ) * any(c.borrowed_from is not None for c in cells)
    yield figures.add(
        "label-efficiency",
        draw_label_efficiency(cells, scores, data.labels, title, beyond),
        f"Test scores of {data.settings.backbone}: {shown}. A "
        "seed sets the initial weights, the batch order and the training images. Where intervals "
        f"of two modes overlap, see their paired difference below.{hollow}{dashed}",
    )
    same = same_images(data)
    for each in scores:
        yield cell_table(cells, each, same)
        if any(c.scores[each].images for c in cells):
            yield seeds_table(cells, each)
    for each in scores:
        if differences := data.findings.differences(each):
            yield difference_table(differences)
    if found := data.findings.crossovers(score):
        yield crossover_table(found, score, max(len(c.seeds) for c in cells))
    saved = data.findings.labels_saved(score)
    if matches := [s.match for s in saved if s.match and s.ratio != s.ratio_b]:
        yield _saved_table(matches, saved[0].margin)


def cell_table(cells: Sequence[CellSummary], score: str, same: str = "") -> Table:
    """Return a score of each cell with the interval that counts; `same` by `same_images`."""
    fewest, most = (f(len(c.seeds) for c in cells) for f in (min, max))
    # A study that an earlier version began may have kept the outputs of some cells only.
    images = min(c.scores[score].images or 0 for c in cells)
    if images:
        least = min((c.scores[score] for c in cells), key=lambda e: e.images or 0)
        caption = f"{score} {on_new(least)}: mean and 95 % interval"
        caption += f" from {seeds(fewest, most)} and {test_images(least)}."
        if fewest == 1:
            caption += " With one seed, it is the interval of these networks, not of the modes."
    elif most > 1:
        caption = f"{score} on these test images: mean and 95 % interval over up to {most} seeds."
    else:
        caption = f"{score}, with one seed, which gives no interval."
    if any(c.borrowed_from for c in cells):
        caption += " *: with the configuration of the nearest ratio."
    texts = {c.cell: estimate_text(c.scores[score]) + "*" * bool(c.borrowed_from) for c in cells}
    return _by_ratio(texts, caption + same)


def seeds_table(cells: Sequence[CellSummary], score: str) -> Table:
    """Return the intervals of a score on these test images."""
    scores = {c.cell: c.scores[score] for c in cells}
    texts = {cell: interval_text(e.seeds_low, e.seeds_high) for cell, e in scores.items()}
    caption = f"{score} on these test images: the 95 % interval for other seeds alone."
    ends = [(e.seeds_low, e.seeds_high) for e in scores.values()]
    # Equal, apart from rounding errors.
    if any(low is not None and high is not None and high - low < 1e-9 for low, high in ends):
        caption += " Where it has no width, all seeds have the same score; others may not have it."
    return _by_ratio(texts, caption)


def _by_ratio(texts: Mapping[Cell, str], caption: str) -> Table:
    modes = [mode for mode in MODES if any(cell.mode == mode for cell in texts)]
    rows = [
        [f"{ratio:g}", *(texts.get(Cell(mode, ratio), "") for mode in modes)]
        for ratio in sorted({cell.train_ratio for cell in texts})
    ]
    return Table(["train_ratio", *modes], rows, caption)


def same_images(data: StudyData) -> str:
    """Say at which ratio a seed does not choose the training images, or hardly."""
    largest = max(c.train_ratio for c in data.cells)
    if largest < data.largest_ratio - 1e-9:
        return ""
    # A share of a class is rounded, and whole groups can leave a few out.
    sizes = data.study.get("split_sizes", {})
    used = sum(sizes.get(part, 0) for part in (f"train_{largest}", "val", "test"))
    grouped = any(e.groups for c in data.cells for e in c.scores.values())
    nearly = "nearly " if grouped or used != data.images else ""
    return (
        f" At {largest:g} all seeds train on {nearly}the same images, so its intervals don't cover "
        "other training images."
    )


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
        f"Paired differences in {differences[0].score} with 95 % interval {where}. ±: the "
        "smallest difference that these images and seeds could have shown. An arrow means that the "
        "modes differ: ▲ the first is better, ▼ it is worse. Arrows are Holm-adjusted for the "
        f"{pluralize(len(differences), 'comparison')} of this table: the chance of one or more "
        "wrong arrows is about 5 % at most. So a single interval may exclude zero and have no "
        "arrow.",
    )


def _could_show(d: Difference) -> str:
    half = d.estimate.half_width
    return "" if half is None else f" ±{half:.3f}"


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


def _saved_table(matches: Sequence[Difference], margin: float) -> Table:
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


def _pareto_table(data: StudyData) -> Table:
    metric = data.settings.metric
    return Table(
        ["train_ratio", "mode", metric, "trial"],
        [
            [f"{r.config.train_ratio:g}", r.config.mode, f"{r.value(metric):.4f}", str(r.trial)]
            for r in pareto_front(data.search, metric)
        ],
        f"The Pareto front of the search: no trial has a better {metric} with as few labels.",
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
