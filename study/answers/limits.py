"""What a study can't show: that networks beat chance, or differences that are too small."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from study.analysis.comparisons import holm
from study.analysis.estimates import CellSummary, by_cell
from study.analysis.images.joint_scores import constant_scores
from study.analysis.study_data import StudyData
from study.answers.imbalance import label_score
from study.answers.phrases import enumerate_words, score_words, seeds, share, test_images
from study.intervals.by_class_grouped import groups_of_classes
from study.intervals.two_way import CONFIDENCE, TInterval, satterthwaite
from study.records.trial_record import TrialRecord, best_of
from tl_core.config import FROZEN, TrialConfig
from tl_core.training.train import chance_warning

_MANY = 6
"""With fewer groups of a class, AUROC does not show that a network knows something."""


def chance_sentence(data: StudyData, best: CellSummary) -> str | None:
    """Say that the modes at the winner's ratio may know nothing, where no score excludes it."""
    images = next(iter(by_cell(data.confirmed)[best.cell].values())).images
    if images is None:
        return None
    beside = [c for c in data.cells if c.train_ratio == best.train_ratio]
    if beats_constant(beside, images.labels, images.groups):
        return None
    counts = np.bincount(images.labels)
    return (
        f"With {share(best.train_ratio)} of the images no mode is shown to do better than to name "
        f"the most frequent class each time, which is right for "
        f"{100 * counts.max() / counts.sum():.1f} % of the test images."
    )


def chance_note(
    records: Iterable[TrialRecord], val_classes: Callable[[TrialConfig], np.ndarray]
) -> str | None:
    """Warn if even the best frozen trial is near chance, whatever the metric is.

    So a bad learning rate is no reason. `val_classes` counts the validation images of each class.
    """
    best = best_of([r for r in records if r.config.mode in FROZEN], "val_balanced_accuracy")
    if best is None:
        return None
    warning = chance_warning(best.config, val_classes(best.config), best.history[-1])
    if warning is None:
        return None
    return f"trial {best.trial}, of the frozen ones the best by balanced accuracy: {warning}"


def beats_constant(
    cells: Iterable[CellSummary], labels: np.ndarray, groups: np.ndarray | None = None
) -> bool:
    """Whether a cell is shown to do better than to name the most frequent class each time.

    A network that knows nothing is at chance on every seed, so only the images make its score
    differ from that. By accuracy, balanced accuracy or AUROC, adjusted for their number in all
    cells: of many scores of networks that know nothing, one is often above chance. AUROC is left
    out if a class has few groups: of two and two, one in six orders has all of a class above the
    others.
    """
    chances = constant_scores(labels)
    if groups is not None and groups_of_classes(labels, groups).min() < _MANY:
        del chances["test_auroc"]
    found = [(e, x) for c in cells for score, x in chances.items() if (e := c.scores.get(score))]
    p_values = [2 * float(_of_images(e.t).p_not_above(x)) for e, x in found if e.t]
    return min(holm(p_values), default=1.0) < 1 - CONFIDENCE


def _of_images(t: TInterval) -> TInterval:
    """The interval on new images for these networks; that of new seeds, too, if it has no parts."""
    if t.parts is None:
        return t
    none = np.zeros_like(t.parts.seeds)
    return satterthwaite(t.center, replace(t.parts, total=none, seeds=none, free=1))


def resolution(data: StudyData) -> str | None:
    """Return how small a difference of two modes could have been shown, if there are two."""
    score, _ = label_score(data.cells, data.settings.metric)
    differences = data.findings.differences(score)
    shown = [d for d in differences if d.estimate.half_width and d.estimate.images]
    if not shown:
        return None
    # With two seeds it may be above any difference.
    found = [d.estimate for d in shown]
    widths = [min(1.0, e.half_width or 1.0) for e in found]
    e = found[0]  # A cell may lack outputs, and so the number of its images.
    what = "groups" if e.groups else "images"
    low, high = (f"{100 * width:.1f}" for width in (min(widths), max(widths)))
    span = low if low == high else f"{low} to {high}"
    varies = ["on the two"] if len({frozenset((d.a.mode, d.b.mode)) for d in shown}) > 1 else []
    if len({d.a.train_ratio for d in shown}) > 1:
        varies.append("on the number of training images")
    which = "" if low == high else f", depending {enumerate_words(varies)},"
    return (
        f"On {test_images(e)}, with {seeds(*(e.n for e in found))}, two modes must be {span} "
        f"points of {score_words(score)} apart{which} to be distinguishable in one "
        f"comparison; more test {what} or seeds would show smaller differences."
    )
