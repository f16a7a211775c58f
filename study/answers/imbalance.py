"""Classes of very different sizes: what an accuracy then says little of, and what to do."""

from collections.abc import Collection

from study.analysis.estimates import CellSummary
from study.analysis.images.recall import Recall
from study.answers.phrases import enumerate_words, percent
from study.config.settings import Settings
from study.records.trial_record import TrialRecord
from tl_core.text import pluralize

MOST = 3
"""The classes are called imbalanced if one has more than this many times the images of another."""


def is_imbalanced(sizes: Collection[int]) -> bool:
    """Whether the numbers of images of the classes differ much."""
    return max(sizes) > MOST * min(sizes)


def imbalance(
    sizes: Collection[int],
    settings: Settings,
    best: CellSummary | TrialRecord,
    weakest: Recall | None = None,
) -> str | None:
    """Say that the classes are imbalanced, with balanced accuracy beside accuracy, if they are.

    Args:
        sizes: images of each class.
        settings: of the study.
        best: the winner's scores or, if nothing is confirmed, the best trial of the search.
        weakest: the class of which the winner recognises the smallest share.
    """
    if not is_imbalanced(sizes):
        return None
    least, most = min(sizes), max(sizes)
    found = _on_validation(best) if isinstance(best, TrialRecord) else _on_test(best)
    text = (
        f"The classes are imbalanced, with {least:,} to {pluralize(most, 'image')} each, so an "
        f"accuracy says little of the small ones: {found}."
    )
    if weakest:
        interval = f"({100 * weakest.low:.0f} to {100 * weakest.high:.0f} %)"
        text += (
            f" Of class {weakest.name!r} it recognises {100 * weakest.mean:.0f} % {interval}, of "
            f"{pluralize(weakest.images, 'test image')}."
        )
    means = _means(settings)
    return f"{text} {enumerate_words(means)}." if means else text


def _on_test(best: CellSummary) -> str:
    accuracy, balanced = (
        best.scores.get(name) for name in ("test_accuracy", "test_balanced_accuracy")
    )
    assert accuracy
    text = f"the winner's test accuracy is {percent(accuracy)}, its balanced accuracy"
    if balanced is None:  # Of an earlier version.
        return f"{text} was not measured"
    return f"{text}, the mean recall of the classes, {percent(balanced)}"


def _on_validation(best: TrialRecord) -> str:
    accuracy, balanced = best.value("val_accuracy"), best.history[-1].val_balanced_accuracy
    assert accuracy is not None
    text = "the best trial's validation accuracy (no interval) is "
    text += f"{100 * accuracy:.1f} %, its balanced accuracy"
    if balanced is None:
        return f"{text} was not measured"
    return f"{text}, the mean recall of the classes, {100 * balanced:.1f} %"


def _means(settings: Settings) -> list[str]:
    weighted = "--class-weights balanced makes all classes count alike in training"
    chosen = "--metric val_balanced_accuracy chooses the best trials by balanced accuracy"
    return [
        text
        for text, done in (
            (weighted, settings.class_weights == "balanced"),
            (chosen, settings.metric == "val_balanced_accuracy"),
        )
        if not done
    ]
