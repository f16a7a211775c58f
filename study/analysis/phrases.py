"""Numbers in words: modes, shares, and means with their intervals."""

from study.analysis.estimates import Estimate
from tl_core.config import AuxWeight, Mode

MODE_WORDS: dict[Mode, str] = {
    "freeze": "freezing",
    "finetune": "fine-tuning",
    "lp_ft": "fine-tuning after the heads (lp_ft)",
    "scratch": "training from scratch",
}


def share(ratio: float) -> str:
    """A train_ratio, as `5 %`, in the digits that tell it."""
    return f"{100 * ratio:.4g} %"


def weight(aux_weight: float | str) -> str:
    """An aux_weight, which may be `auto`."""
    return aux_weight if isinstance(aux_weight, str) else f"{aux_weight:.2g}"


def show_weight(aux_weight: AuxWeight, digits: str = ".2f") -> str:
    """The number in that format, or the word."""
    return aux_weight if isinstance(aux_weight, str) else format(aux_weight, digits)


def seeds(n: int) -> str:
    """A number of seeds."""
    return "one seed" if n == 1 else f"{n} seeds"


def percent(e: Estimate) -> str:
    """A share with its interval, as `98.3 % (97.1 to 99.0 %)`; without one, the share alone."""
    return f"{100 * e.mean:.1f} %{_within(e, 100, '.1f', ' %')}"


def points(e: Estimate, sign: str = "") -> str:
    """A difference of shares in percentage points, as `1.2 points (0.3 to 2.1)`.

    Args:
        e: the difference, as a share.
        sign: `+` to show the sign of gains too.
    """
    style = f"{sign}z.1f"
    return f"{100 * e.mean:{style}} points{_within(e, 100, style)}"


def change(e: Estimate) -> str:
    """A difference with its sign, as `-0.012 (-0.020 to -0.004)`."""
    return f"{e.mean:+z.3f}{_within(e, 1, '+z.3f')}"


def reverse(e: Estimate) -> Estimate:
    """The same difference seen from the other side."""
    if e.low is None or e.high is None:
        return Estimate(-e.mean, None, None, e.n)
    return Estimate(-e.mean, -e.high, -e.low, e.n)


def enumerate_words(words: list[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def one_ratio(mode: Mode, ratio: float) -> str:
    """The sentence on what labels buy where a mode has results at one ratio."""
    return (
        f"What more labels would buy can't be said, since {MODE_WORDS[mode]} has results with "
        f"{share(ratio)} of the images only."
    )


def _within(e: Estimate, scale: float, style: str, unit: str = "") -> str:
    if e.low is None or e.high is None:
        return ""
    if e.high - e.low < 1e-9:  # Equal but for float noise.
        return " (on every seed)"
    return f" ({scale * e.low:{style}} to {scale * e.high:{style}}{unit})"
