"""Where modes compare differently with other shares of the images than with the winner's."""

from collections.abc import Iterator, Mapping

from study.analysis.comparisons import Difference
from study.analysis.estimates import CellSummary, by_cell
from study.analysis.findings import Findings
from study.analysis.study_data import asked_score, of_classification
from study.answers.phrases import MODE_WORDS, capitalize, enumerate_words, score_words, share
from study.answers.sentences import mode_words, show_gap
from study.search.cells import Cell
from tl_core.config import Metric, Mode


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
    clauses = [*_behind(behind, findings, few), *_reversed(others)]
    return capitalize(f"by {score_words(score)}, {'; '.join(clauses)}.") if clauses else ""


def _behind(found: list[Difference], findings: Findings, few: Mapping[Cell, int]) -> Iterator[str]:
    cells = by_cell(findings.confirmed)
    for cell in dict.fromkeys(d.a for d in found):
        rivals = [f"{mode_words(d.b, cells, few)} by {show_gap(d)}" for d in found if d.a == cell]
        yield (
            f"with {share(cell.train_ratio)} of the images {mode_words(cell, cells, few)} is "
            f"behind {enumerate_words(rivals)}"
        )


def _reversed(found: list[Difference]) -> Iterator[str]:
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
