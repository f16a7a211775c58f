"""The report on label efficiency: confirmed scores by mode and ratio, and how modes compare."""

from collections.abc import Iterator, Mapping, Sequence

from study.analysis.estimates import CellSummary
from study.analysis.label_efficiency import pareto_front
from study.analysis.study_data import StudyData
from study.answers.imbalance import LOG_LOSS, decisive, label_score
from study.answers.phrases import on_new, seeds, test_images
from study.reporting.comparison_tables import (
    crossover_table,
    difference_table,
    estimate_text,
    interval_text,
    saved_table,
)
from study.reporting.figures.trial_plots import (
    draw_label_efficiency,
    draw_trials,
    is_joined,
)
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
    figure = draw_trials(data.search, data.settings.metric, data.labels, title)
    joined = "Lines join the best trials of each mode. They"
    best = joined if is_joined(data.search, data.settings.metric) else "The best trials"
    yield figures.add(
        "trials",
        figure,
        f"Every trial of the search with {data.settings.backbone}, on the validation set that "
        f"decides what is repeated and confirmed. {best} were selected because they are good, so "
        "only test scores tell what more labels gain.",
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
    paired = [some for each in scores if (some := data.findings.differences(each))]
    below = (
        " Where intervals of two modes overlap, see their paired difference below."
        if paired
        else ""
    )
    yield figures.add(
        "label-efficiency",
        draw_label_efficiency(cells, scores, data.labels, title, beyond),
        f"Test scores of {data.settings.backbone}: {shown}. A "
        "seed sets the initial weights, the batch order and the training images."
        f"{below}{hollow}{dashed}",
    )
    same = same_images(data)
    for each in scores:
        yield cell_table(cells, each, same)
        if any(c.scores[each].images and len(c.seeds) > 1 for c in cells):
            yield seeds_table(cells, each)
    yield from map(difference_table, paired)
    if found := data.findings.crossovers(score):
        yield crossover_table(found, score, max(len(c.seeds) for c in cells))
    saved = data.findings.labels_saved(score)
    if matches := [s.match for s in saved if s.match and s.ratio != s.ratio_b]:
        yield saved_table(matches, saved[0].margin)


def cell_table(cells: Sequence[CellSummary], score: str, same: str = "") -> Table:
    """Return a score of each cell with the interval that counts; `same` by `same_images`."""
    fewest, most = (f(len(c.seeds) for c in cells) for f in (min, max))
    images = min(c.scores[score].images or 0 for c in cells)
    if images:
        least = min((c.scores[score] for c in cells), key=lambda e: e.images or 0)
        caption = f"{score} {on_new(least)}: mean and 95 % interval"
        caption += f" from {seeds(fewest, most)} and {test_images(least)}."
        if fewest == 1:
            caption += " With one seed, it is the interval of these networks, not of the modes."
    elif most > 1:
        caption = f"{score} on these test images: mean and 95 % interval over up to {most} seeds."
        caption += " They are of one group, so it is not about new groups." * (
            cells[0].scores[score].one_group
        )
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
