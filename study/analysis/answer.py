"""The study's answer: three sentences, made from the numbers."""

from collections.abc import Iterable, Sequence

from study.analysis import sentences
from study.analysis.comparisons import multi_task
from study.analysis.estimates import Cell, CellSummary, Confirmed, by_cell, summarize
from study.analysis.phrases import MODE_WORDS, enumerate_words, one_ratio, seeds, share
from study.analysis.study_data import StudyData
from study.config.settings import Settings
from study.records.trial_record import TrialRecord, best_of
from tl_core.config import DIRECTIONS, MODES, Metric, Mode


def answer_of(data: StudyData) -> tuple[str, str, str]:
    """Return the three sentences on a study."""
    subject = f"{data.dataset} ({data.images:,} images) with {data.settings.backbone}"
    return answer(subject, data.settings, data.search, data.confirmed)


def answer(
    subject: str, settings: Settings, records: Sequence[TrialRecord], confirmed: Sequence[Confirmed]
) -> tuple[str, str, str]:
    """Return the three sentences: the best mode, the gain from labels, the auxiliary task's effect.

    `subject` is data and backbone. `records` are the trials of the search: their validation scores
    select the winner. Without confirming trials, the sentences use validation scores and say so.
    """
    first = best_of(records, settings.metric)
    tried = [mode for mode in MODES if any(r.config.mode == mode for r in records)]
    cells = by_cell(confirmed)
    if cells:
        best = winner(settings.metric, records, confirmed)
        kept = first and Cell(first.config.mode, first.config.train_ratio) in cells
        where = subject if kept else f"{subject}, among the confirmed results"
        arms = multi_task(confirmed)
        return (
            sentences.best_mode(where, best, tried, confirmed),
            sentences.label_gain(best.mode, confirmed),
            sentences.auxiliary_effect(arms)
            if arms
            else sentences.no_auxiliary_effect(settings.aux_weight, best.aux_weight, tried),
        )
    if first is None:
        return (
            f"There is no answer on {subject}, because no trial finished.",
            "The gain from more labels is unknown.",
            "The effect of the auxiliary task is unknown.",
        )
    return (
        _best_mode(subject, settings.metric, first, records),
        _label_gain(settings.metric, first.config.mode, records),
        sentences.no_auxiliary_effect(settings.aux_weight, first.config.aux_weight, tried),
    )


def winner(
    metric: Metric, records: Iterable[TrialRecord], confirmed: Iterable[Confirmed]
) -> CellSummary:
    """Return the confirmed cell whose configuration was best in the search, by validation.

    On a tie the earlier trial wins. Test scores are not used: the best of several test scores
    would look better than it is.
    """
    values = {r.trial: value for r in records if (value := r.value(metric)) is not None}
    sign = 1 if DIRECTIONS[metric] == "min" else -1
    return min(
        summarize(confirmed),
        key=lambda cell: (sign * values[cell.source], cell.source, cell.borrowed_from is not None),
    )


def _best_mode(
    subject: str, metric: Metric, best: TrialRecord, records: Sequence[TrialRecord]
) -> str:
    """Compare the best trial of the search with the best of each other mode at its ratio."""
    c = best.config
    tried = {r.config.mode for r in records} - {c.mode}
    others = [
        f"{_accuracy(_best_at(records, metric, mode, c.train_ratio))} for {MODE_WORDS[mode]}"
        for mode in MODES
        if mode in tried
    ]
    return (
        f"Not confirmed on fresh seeds: on {subject}, {MODE_WORDS[c.mode]}"
        f"{'' if others else ', the only mode tried,'} scored best in the search at learning rate "
        f"{c.lr:.2g}, with a validation accuracy (no interval, from {seeds(c.seeds)}) of "
        f"{_accuracy(best)} with {share(c.train_ratio)} of the images for training"
        f"{f', against {enumerate_words(others)}' if others else ''}."
    )


def _label_gain(metric: Metric, mode: Mode, records: Sequence[TrialRecord]) -> str:
    """Compare the mode's best trials at its least and most labels; one must have finished."""
    ratios = sorted({r.config.train_ratio for r in records})
    found = [r for ratio in ratios if (r := _best_at(records, metric, mode, ratio))]
    if len(found) == 1:
        return one_ratio(mode, found[0].config.train_ratio)
    few, many = (
        f"{_accuracy(r)} with {share(r.config.train_ratio)}" for r in (found[0], found[-1])
    )
    return (
        f"By the same unconfirmed scores, {MODE_WORDS[mode]} goes from {few} of the images to "
        f"{many}; this does not show how many labels can be saved or whether one mode overtakes "
        "another."
    )


def _best_at(
    records: Sequence[TrialRecord], metric: Metric, mode: Mode, ratio: float
) -> TrialRecord | None:
    there = [r for r in records if (r.config.mode, r.config.train_ratio) == (mode, ratio)]
    return best_of(there, metric)


def _accuracy(record: TrialRecord | None) -> str:
    value = record.value("val_accuracy") if record else None
    return "no result" if value is None else f"{100 * value:.1f} %"
