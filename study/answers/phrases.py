"""Numbers in words: modes, shares, and means with their intervals."""

from collections.abc import Sequence

from study.analysis.estimates import score_of
from study.intervals.estimate import Estimate
from study.records.trial_record import TrialRecord
from study.search.cells import Cell
from tl_core.aux_task import AuxWeight
from tl_core.config import Mode
from tl_core.text import pluralize

MODE_WORDS: dict[Mode, str] = {
    "freeze": "freezing",
    "probe": "a linear probe",
    "partial": "partial fine-tuning",
    "finetune": "fine-tuning",
    "lp_ft": "fine-tuning after the heads (lp_ft)",
    "scratch": "training from scratch",
}


_CAPITALS = {"auroc": "AUROC", "f1": "F1", "mae": "MAE", "r2": "R2"}
_MANY_CELLS = 6
"""In simulated studies, the best of so many that are equal has test scores that are too good."""


def score_words(score: str) -> str:
    """Return the name of a score or metric without its split, as `balanced accuracy`."""
    _, *words = score.split("_")
    return " ".join(_CAPITALS.get(word, word) for word in words)


def is_share(score: str) -> bool:
    """Whether a test score is shown in percent, and its differences in points."""
    return score_of(score)[1:] == (0, 1)


def show_number(value: float | None, style: str = ".4f") -> str:
    """Return a number with so many decimals, from 10,000 on with four digits; None is nothing.

    The loss of a network that diverges may have 36 before the point.
    """
    if value is None:
        return ""
    return format(value, style if abs(value) < 1e4 else "+.4g" if style[0] == "+" else ".4g")


def show_score(score: str, e: Estimate) -> str:
    """Return a test score with its interval."""
    return percent(e) if is_share(score) else f"{show_number(e.mean, '.3f')}{_within(e, 1, 'z.3f')}"


def show_value(metric: str, value: float | None) -> str:
    """Return a metric's value without interval, as a share or a number; None is `no result`."""
    if value is None:
        return "no result"
    of_all = is_share(metric.replace("val_", "test_"))
    return f"{100 * value:.1f} %" if of_all else show_number(value, ".3f")


def show_difference(score: str, e: Estimate, sign: str = "+") -> str:
    """Return a difference in a test score with its interval; `sign` as for `points`."""
    return points(e, sign) if is_share(score) else change(e, sign)


SHOWN_GAIN = 0.0005
"""A smaller gain would be shown as 0.0 points, or as 0.000."""


def show_size(score: str, gap: float) -> str:
    """Return the size of a difference in a test score, without its interval."""
    if abs(gap) < SHOWN_GAIN:
        return "less than 0.1 points" if is_share(score) else "less than 0.001"
    return f"{100 * abs(gap):.1f} points" if is_share(score) else show_number(abs(gap), ".3f")


def share(ratio: float) -> str:
    """Return a train_ratio as `5 %`, with as many digits as it needs."""
    return f"{100 * ratio:.4g} %"


def show_weight(aux_weight: AuxWeight, digits: str = ".2f") -> str:
    """Return an aux_weight in that format, or `auto`."""
    return aux_weight if isinstance(aux_weight, str) else format(aux_weight, digits)


def show_rate(record: TrialRecord, digits: str = ".2g", between: str = " ") -> str:
    """Return a trial's learning rate, as `lr 0.001`.

    For a probe it is the penalty that it chose, as `l2 0.03`; nothing before it has chosen.
    """
    if record.config.lr is not None:
        return f"lr{between}{record.config.lr:{digits}}"
    penalty = record.history[-1].l2 if record.history else None
    return "" if penalty is None else f"l2{between}{penalty:{digits}}"


def at_rate(lr: float | None) -> str:
    """Return ` at learning rate 0.001`; nothing for a probe, which has none."""
    return "" if lr is None else f" at learning rate {lr:.2g}"


def seeds(*counts: int, kind: str = "") -> str:
    """Return a number of seeds; of several numbers the least and the most: `2 to 5 seeds`.

    `kind` says which they are, as in `5 fresh seeds`.
    """
    low, high = min(counts), max(counts)
    what = f"{kind} seed".lstrip()
    if low < high:
        return f"{low} to {high} {what}s"
    return f"one {what}" if high == 1 else f"{high} {what}s"


def only_one(e: Estimate) -> str:
    """Return of what there is one alone, where an estimate tells nothing of others."""
    return "One test group" if e.one_group else "One seed"


def percent(e: Estimate) -> str:
    """Return a share with its interval, if it has one: `98.3 % (97.1 to 99.0 %)`."""
    return f"{100 * e.mean:.1f} %{_within(e, 100, '.1f', ' %')}"


def points(e: Estimate, sign: str = "") -> str:
    """Return a difference of shares in percentage points: `1.2 points (0.3 to 2.1)`.

    Args:
        e: the difference, as a share.
        sign: `+` to show the sign of gains too.
    """
    style = f"{sign}z.1f"
    return f"{100 * e.mean:{style}} points{_within(e, 100, style)}"


def change(e: Estimate, sign: str = "+") -> str:
    """Return a difference with its sign: `-0.012 (-0.020 to -0.004)`."""
    style = f"{sign}z.3f"
    return f"{show_number(e.mean, style)}{_within(e, 1, style)}"


def number(e: Estimate) -> str:
    """Return a number with its interval, if it has one: `0.85 (0.70 to 0.93)`."""
    return f"{e.mean:.2f}{_within(e, 1, 'z.2f')}"


def covers(scores: Sequence[Estimate]) -> str:
    """Say what the means and the intervals of a study's cells are about."""
    counts = [e.n for e in scores]
    n = seeds(*counts)
    if all(e.low is None for e in scores):
        return f"Scores are of {n}, without interval."
    seen = [e for e in scores if e.images]
    if not seen:
        return f"Scores are means of {n}, with 95 % intervals {_on_these(scores)}."
    where, lost = on_new(seen[0]), [e for e in scores if not e.images]
    but = _without_outputs(lost) if lost else ""
    if max(counts) == 1:
        return f"Scores are of one seed, with 95 % intervals of this network {where}{but}."
    but = ("; with one seed, of this network" if min(e.n for e in seen) == 1 else "") + but
    return f"Scores are means of {n}, with 95 % intervals {where}{but}."


def _without_outputs(lost: Sequence[Estimate]) -> str:
    """Say what the intervals of cells are about of which a trial's outputs are missing."""
    cells = f"{pluralize(len(lost), 'cell')}, whose outputs are missing,"
    if all(e.low is None for e in lost):
        return f"; {cells} {'has' if len(lost) == 1 else 'have'} none"
    return f"; of {cells} {_on_these(lost)}"


def _on_these(scores: Sequence[Estimate]) -> str:
    some = any(e.low is None for e in scores)
    what = f"on these test images{' where there are two seeds or more' * some}"
    return what + ", of one group, so they are not about new groups" * scores[0].one_group


def capitalize(words: str) -> str:
    """Return words with a capital at the start, and the rest as it is."""
    return words[0].upper() + words[1:]


def on_new(e: Estimate) -> str:
    """Say what an interval that does not only cover these test images is about."""
    return "on photos of new groups" if e.groups else "on new photos"


def test_images(e: Estimate) -> str:
    """Return how many test images an estimate is from, and of how many groups."""
    images = pluralize(e.images or 0, "test image")
    return f"{images} of {pluralize(e.groups, 'group')}" if e.groups else images


def chosen_among(cells: int) -> str:
    """Say that the best of many cells may be so by luck: the networks that are tested chose it."""
    if cells < _MANY_CELLS:
        return ""
    return f"It may be a little worse, as this is the best of {cells} cells on the same seeds."


def of_given_part(sentence: str) -> str:
    """Put a sentence on shares of the images right for a study whose training part is given."""
    return sentence.replace("of the images", "of the given training images")


def enumerate_words(words: list[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def one_ratio(mode: Mode, ratio: float) -> str:
    """Return the sentence on more labels for a mode with results at one ratio."""
    return (
        f"The gain from more labels is unknown, because {MODE_WORDS[mode]} has results with only "
        f"{share(ratio)} of the images."
    )


def _within(e: Estimate, scale: float, style: str, unit: str = "") -> str:
    if e.low is None or e.high is None:
        return ""
    if e.high - e.low < 1e-9:  # Equal, apart from rounding errors.
        return " (on every seed)" if e.images is None else " (on every image)"
    low, high = (show_number(scale * x, style) for x in (e.low, e.high))
    return f" ({low} to {high}{unit})"


def cell_words(cell: Cell) -> str:
    """Return `freezing with 10 %`."""
    return f"{MODE_WORDS[cell.mode]} with {share(cell.train_ratio)}"
