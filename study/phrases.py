"""Numbers in words: modes, shares, means with their intervals."""

from study.estimates import Estimate
from tl_core.config import Mode

MODE_WORDS: dict[Mode, str] = {
    "freeze": "freezing",
    "finetune": "fine-tuning",
    "lp_ft": "fine-tuning after the heads (lp_ft)",
    "scratch": "training from scratch",
}


def share(ratio: float) -> str:
    """A train_ratio, as `5 %`; two digits, since an interpolated one has no more to tell."""
    return f"{100 * ratio:.2g} %" if ratio < 1 else "100 %"


def seeds(n: int) -> str:
    """A number of seeds."""
    return "one seed" if n == 1 else f"{n} seeds"


def percent(e: Estimate) -> str:
    """A share with its interval, as `98.3 % (97.1 to 99.0 %)`."""
    return f"{100 * e.mean:.1f} %{_within(e, 100, '.1f', ' %')}"


def points(e: Estimate) -> str:
    """A difference of shares in percentage points, as `1.2 points (0.3 to 2.1)`."""
    return f"{100 * e.mean:z.1f} points{_within(e, 100, 'z.1f')}"


def change(e: Estimate, digits: int = 3) -> str:
    """A difference with its sign, as `-0.012 (-0.020 to -0.004)`."""
    style = f"+z.{digits}f"
    return f"{e.mean:{style}}{_within(e, 1, style)}"


def reverse(e: Estimate) -> Estimate:
    """The same difference seen from the other side."""
    if e.low is None or e.high is None:
        return Estimate(-e.mean, None, None, e.n)
    return Estimate(-e.mean, -e.high, -e.low, e.n)


def enumerate_words(words: list[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def capital(text: str) -> str:
    """The text as a sentence begins; only its first letter changes."""
    return text[:1].upper() + text[1:]


def _within(e: Estimate, scale: float, style: str, unit: str = "") -> str:
    if e.low is None or e.high is None:
        return " (one seed, no interval)"
    if e.low == e.high:
        return f" (the same on all {e.n} seeds)"
    return f" ({scale * e.low:{style}} to {scale * e.high:{style}}{unit})"
