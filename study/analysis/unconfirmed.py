"""What the search alone says, where nothing was confirmed: its own validation scores."""

from collections.abc import Sequence

from study.analysis.phrases import MODE_WORDS, enumerate_words, one_ratio, seeds, share
from study.records.trial_record import TrialRecord, best_of
from tl_core.config import MODES, Metric, Mode


def which(about: str, metric: Metric, best: TrialRecord, records: Sequence[TrialRecord]) -> str:
    """Say which mode at which learning rate, and how the others' best scored at its ratio.

    Args:
        about: where and with what, as `pets (600 images) with resnet18`.
        metric: what the search went by.
        best: the best trial by it.
        records: the trials of the search.
    """
    c = best.config
    tried = {r.config.mode for r in records} - {c.mode}
    told = [
        f"{_accuracy(_best_at(records, metric, mode, c.train_ratio))} for {MODE_WORDS[mode]}"
        for mode in MODES
        if mode in tried
    ]
    return (
        f"Not confirmed on fresh seeds: on {about}, {MODE_WORDS[c.mode]}"
        f"{'' if told else ', the only mode tried,'} scored best in the search at learning rate "
        f"{c.lr:.2g}, with a validation accuracy (no interval, from {seeds(c.seeds)}) of "
        f"{_accuracy(best)} with {share(c.train_ratio)} of the images for training"
        f"{f', against {enumerate_words(told)}' if told else ''}."
    )


def labels(metric: Metric, mode: Mode, records: Sequence[TrialRecord]) -> str:
    """Say what the mode's best trials gain with more labels; it must have one that finished."""
    ratios = sorted({r.config.train_ratio for r in records})
    found = [r for ratio in ratios if (r := _best_at(records, metric, mode, ratio))]
    least, most = found[0], found[-1]
    if least is most:
        return one_ratio(mode, most.config.train_ratio)
    few, many = (f"{_accuracy(r)} with {share(r.config.train_ratio)}" for r in (least, most))
    return (
        f"By the same unconfirmed scores {MODE_WORDS[mode]} goes from {few} of the images to "
        f"{many}, which does not tell how many labels can be saved or whether one mode overtakes "
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
