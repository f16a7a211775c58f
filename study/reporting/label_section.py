"""The report on what labels buy: confirmed scores by mode and ratio, and how modes compare."""

from collections.abc import Iterator, Mapping, Sequence

from study.analysis.comparisons import Difference, mode_differences
from study.analysis.estimates import Cell, Estimate, summarize
from study.analysis.label_efficiency import Crossover, LabelsSaved, crossovers, labels_saved
from study.analysis.pareto import pareto_front
from study.analysis.study_data import StudyData
from study.reporting.figures.trial_plots import draw_label_efficiency, draw_trials
from study.reporting.page import Painter, Part, Section, Table, Words
from tl_core.config import MODES
from tl_core.text import pluralize

UNCONFIRMED = (
    "No cell was confirmed on fresh seeds, so all there is are validation scores of single trials, "
    "chosen because they were good: expect less."
)


def label_section(findings: StudyData, painter: Painter) -> Section:
    """Confirmed test scores if there are any, then every trial of the search on validation.

    The two are different scores on different images, so they never share an axis.
    """
    parts: list[Part] = []
    if findings.confirmed:
        parts += _confirmed_parts(findings, painter)
    else:
        parts.append(Words(UNCONFIRMED))
    # Trials that failed or were interrupted have no place in the figure, however far they came.
    if any(r.history and r.status in ("done", "pruned") for r in findings.search):
        metric = findings.settings.metric
        if findings.settings.objective == "pareto":
            parts.append(_front_table(findings))
        title = f"{findings.subject}: {pluralize(len(findings.search), 'trial')} of the search"
        figure = draw_trials(findings.search, metric, findings.images, title)
        parts.append(
            painter.keep(
                "trials",
                figure,
                f"Every trial of the search with {findings.settings.backbone}, on the validation "
                "set that it was chosen by. Lines join the best of each mode: where a line is "
                "flat, more labels bought nothing.",
            )
        )
    return Section("What labels buy", parts)


def _confirmed_parts(findings: StudyData, painter: Painter) -> Iterator[Part]:
    cells, scores = summarize(findings.confirmed), findings.test_scores
    title = f"{findings.subject}: the best configuration of each cell, confirmed"
    yield painter.keep(
        "label-efficiency",
        draw_label_efficiency(cells, scores, findings.images, title),
        f"Test scores of {findings.settings.backbone}: mean and 95 % interval over fresh seeds, "
        "which vary initial weights, batch order and training images together. Where the intervals "
        "of two modes overlap, look at their paired difference below before believing either. "
        "Hollow: the search left the cell empty, so the nearest ratio's configuration ran.",
    )
    for score in scores:
        yield _cell_table({c.cell: (c.scores[score], c.borrowed_from) for c in cells}, score)
    differences = mode_differences(findings.confirmed)
    if differences:
        yield _difference_table(differences)
    if found := crossovers(findings.confirmed):
        yield _crossover_table(found)
    shown = [saved for saved in labels_saved(findings.confirmed) if saved.match]
    if saving := [saved for saved in shown if saved.ratio != saved.ratio_b]:
        yield _saved_table(saving)


def _cell_table(cells: Mapping[Cell, tuple[Estimate, float | None]], score: str) -> Table:
    modes = [mode for mode in MODES if any(cell.mode == mode for cell in cells)]
    rows = []
    for ratio in sorted({cell.train_ratio for cell in cells}):
        here = [cells.get(Cell(mode, ratio)) for mode in modes]
        texts = [estimate_text(c[0]) + ("*" if c[1] else "") if c else "" for c in here]
        rows.append([f"{ratio:g}", *texts])
    seeds = max(estimate.n for estimate, _ in cells.values())
    starred = any(borrowed for _, borrowed in cells.values())
    return Table(
        ["train_ratio", *modes],
        rows,
        (
            f"{score}: mean and 95 % interval over up to {seeds} seeds."
            if seeds > 1
            else f"{score}, with one seed, which gives no interval."
        )
        + (" *: with the configuration of the nearest ratio." if starred else ""),
    )


def _difference_table(differences: Sequence[Difference]) -> Table:
    pairs = list(dict.fromkeys((d.a.mode, d.b.mode) for d in differences))
    found = {(d.a.mode, d.b.mode, d.a.train_ratio): d for d in differences}
    rows = []
    for ratio in sorted({d.a.train_ratio for d in differences}):
        here = [found.get((a, b, ratio)) for a, b in pairs]
        rows.append([f"{ratio:g}", *(difference_text(d) if d else "" for d in here)])
    return Table(
        ["train_ratio", *(f"{a} - {b}" for a, b in pairs)],
        rows,
        f"Paired differences in {differences[0].score}, seed by seed, with 95 % interval. An "
        "arrow says that the interval leaves out zero: ▲ the first mode is better, ▼ it is worse; "
        "without one, the seeds can't tell. Of twenty comparisons of equals, one gets an arrow.",
    )


def _front_table(findings: StudyData) -> Table:
    metric = findings.settings.metric
    front = pareto_front(findings.search, metric)
    rows = [
        [f"{r.config.train_ratio:g}", r.config.mode, f"{r.value(metric):.4f}", str(r.trial)]
        for r in front
    ]
    return Table(
        ["train_ratio", "mode", metric, "trial"],
        rows,
        f"The front of the search: no trial has a better {metric} with as few labels.",
    )


def estimate_text(e: Estimate, sign: str = "") -> str:
    """Return a mean and its interval, to three places; a line breaks between the two only."""
    if e.low is None or e.high is None:
        return f"{e.mean:{sign}.3f} (one\N{NO-BREAK SPACE}seed)"
    interval = f"({e.low:.3f} to {e.high:.3f})"
    return f"{e.mean:{sign}.3f} {interval.replace(' ', chr(0xA0))}"


def difference_text(d: Difference) -> str:
    """Return a difference, marked if it can be told from none."""
    mark = {"better": "▲ ", "worse": "▼ ", "cannot tell": ""}[d.verdict]
    return mark + estimate_text(d.estimate, "+")


def _crossover_table(found: Sequence[Crossover]) -> Table:
    return Table(
        ["mode", "overtakes", "at train_ratio", "95 % interval", "crossover"],
        [[c.after, c.before, *_place(c), c.status] for c in found],
        f"Where one mode overtakes another in {found[0].score}, for each pair. Seen: intervals "
        "show the one ahead below that ratio and the other above; not resolved: they don't.",
    )


def _place(c: Crossover) -> tuple[str, str]:
    if c.ratio is None:
        return "ahead at all" if c.status == "none seen" else "", ""
    low = f"{c.low:.2g}" if c.low is not None else "below all tried"
    high = f"{c.high:.2g}" if c.high is not None else "above all tried"
    return f"{c.ratio:.2g}", f"{low} to {high}"


def _saved_table(saving: Sequence[LabelsSaved]) -> Table:
    matches = [saved.match for saved in saving if saved.match]
    rows = [
        [*(f"{c.mode} at {c.train_ratio:g}" for c in (m.a, m.b)), estimate_text(m.estimate, "+")]
        for m in matches
    ]
    return Table(
        ["few labels", "do as well as many", "difference in accuracy"],
        rows,
        f"Labels saved: the smallest ratio that is shown to be less than {saving[0].margin:g} of "
        "accuracy behind, by the whole 95 % interval of the paired difference.",
    )
