"""Which scores an answer tells, and what an accuracy says where classes differ much in size."""

from collections.abc import Collection, Iterable, Sequence

from study.analysis.estimates import CellSummary, by_cell
from study.analysis.images.recall import Recall, recalls
from study.analysis.study_data import StudyData, asked_score
from study.answers.phrases import enumerate_words, is_share, percent, score_words, seeds
from study.config.settings import Settings
from study.records.trial_record import TrialRecord
from tl_core.config import Metric
from tl_core.text import pluralize

ACCURACY, LOG_LOSS = "test_accuracy", "test_log_loss"
_ROUNDING = 1e-9
"""What two means of the same values may differ by."""
MOST = 3
"""The classes are called imbalanced if one has more than this many times the images of another."""


def decisive(cells: Iterable[CellSummary], metric: Metric) -> tuple[str, ...]:
    """Return the test scores that verdicts are told in: accuracy, or first the one asked for.

    Where all test classes have one size, balanced accuracy is accuracy, and one of them is enough.
    So give all cells of a study: with other sizes, too, both are 1 in a perfect one. Earlier
    versions did not measure all scores.
    """
    asked, known = asked_score(metric), list(cells)
    if asked is None or not all(asked in s.scores for s in known):
        return (ACCURACY,)
    gaps = [abs(s.scores[asked].mean - s.scores[ACCURACY].mean) for s in known]
    one = asked == "test_balanced_accuracy" and max(gaps, default=1.0) < _ROUNDING
    return (asked,) if one else (asked, ACCURACY)


def label_score(cells: Iterable[CellSummary], metric: Metric) -> tuple[str, str]:
    """Return the score that labels are told in, and its name; none if it is the only score told.

    It is the first of `decisive` that is a share. Of the others, which score the auxiliary task,
    nobody knows how small a loss is no loss.
    """
    scores = decisive(cells, metric)
    score = next(filter(is_share, scores))
    return score, score_words(score) if len(scores) > 1 else ""


def is_imbalanced(sizes: Collection[int]) -> bool:
    """Whether the numbers of images of the classes differ much."""
    return max(sizes) > MOST * min(sizes)


def weakest(data: StudyData) -> list[Recall]:
    """Return the class of which the winner recognises the smallest share, and of the lowest bound.

    They differ if a class has so few test images that its share says little.
    """
    if data.winning_cell is None:
        return []
    trials = by_cell(data.confirmed)[data.winning_cell.cell]
    found = recalls([*trials.values()], [*data.classes], together=True)
    ends = [min(found, key=lambda r: r.mean), min(found, key=lambda r: r.low)] if found else []
    return list({r.name: r for r in ends}.values())


def imbalance(
    sizes: Collection[int],
    settings: Settings,
    best: CellSummary | TrialRecord,
    worst: Sequence[Recall] = (),
) -> str | None:
    """Say that the classes are imbalanced, with balanced accuracy beside accuracy, if they are.

    Args:
        sizes: images of each class.
        settings: of the study.
        best: the winner's scores or, if nothing is confirmed, the best trial of the search.
        worst: the classes that the winner recognises worst; their intervals hold for all at once.
    """
    if not is_imbalanced(sizes):
        return None
    least, most = min(sizes), max(sizes)
    text = (
        f"The classes are imbalanced, with {least:,} to {pluralize(most, 'image')} each, so an "
        "accuracy says little about the small ones"
    )
    counts_alike = settings.metric in ("val_balanced_accuracy", "val_macro_f1")
    if settings.metric == "val_balanced_accuracy":  # Then the answer has both.
        text += "; balanced accuracy, the mean recall of the classes, counts them alike."
    else:
        text += f": {_accuracies(best)}."
    n = 1 if isinstance(best, TrialRecord) else len(best.seeds)
    mean = f"the mean of {seeds(n)}, " if n > 1 else ""
    for r in worst:
        text += (
            f" Of class {r.name!r} the winner recognises {100 * r.mean:.0f} % ({100 * r.low:.0f} "
            f"to {100 * r.high:.0f} %), {mean}of {pluralize(r.images, 'test image')}."
        )
    if what := _single(best):
        text += (
            f" A class has a single test {what}, which tells nothing of its others and makes the "
            "interval of balanced accuracy wider."
        )
    if worst:
        which = "worst are" if worst[1:] else "worst is"
        these = "these intervals hold" if worst[1:] else "this interval holds"
        text += f" The {which} partly so by chance: {these} for all classes at once."
    means = []
    if settings.class_weights != "balanced":
        means.append("--class-weights balanced makes all classes count alike in training")
    if not counts_alike:
        means.append("--metric val_balanced_accuracy chooses the best trials by balanced accuracy")
    return f"{text} {enumerate_words(means)}." if means else text


def _single(best: CellSummary | TrialRecord) -> str | None:
    """What a class has one of, if that makes the interval of balanced accuracy wider.

    It is not if several classes have one each: together they show how photos differ.
    """
    if isinstance(best, TrialRecord):
        return None
    balanced = best.scores.get("test_balanced_accuracy")
    if balanced is None or balanced.images is None or balanced.t is None or balanced.t.parts:
        return None
    return "group" if balanced.groups else "photo"


def _accuracies(best: CellSummary | TrialRecord) -> str:
    """The accuracy with balanced accuracy beside it, which earlier versions did not measure."""
    if isinstance(best, TrialRecord):
        whose = "the best trial's validation accuracy (no interval)"
        values = (best.value("val_accuracy"), best.history[-1].val_balanced_accuracy)
        accuracy, balanced = (None if x is None else f"{100 * x:.1f} %" for x in values)
    else:
        whose = "the winner's test accuracy"
        estimates = (best.scores.get(f"test_{name}") for name in ("accuracy", "balanced_accuracy"))
        accuracy, balanced = (None if e is None else percent(e) for e in estimates)
    mean = f", the mean recall of the classes, {balanced}" if balanced else " was not measured"
    return f"{whose} is {accuracy}, its balanced accuracy{mean}"
