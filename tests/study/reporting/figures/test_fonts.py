import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import font_manager
from matplotlib.font_manager import FontEntry

from study.reporting.figures import fonts
from study.reporting.figures.fonts import (
    BASE,
    columns,
    families,
    fonts_for,
    shorten,
    text_width,
    with_codes,
)


def entry(name: str, weight: int = 400, style: str = "normal") -> FontEntry:
    return FontEntry(fname=name, name=name, weight=weight, style=style)


ENTRIES = [
    entry("Zen"), entry("LastResort"), entry("Italic", style="italic"), entry("Noto Sans SC"),
    entry("Noto Sans SC", weight=700), entry("Emoji"),
]  # fmt: skip
CHARACTERS = {
    "Zen": "猫犬🐈", "Italic": "猫犬", "LastResort": "猫犬🐈ก", "Noto Sans SC": "猫", "Emoji": "",
}  # fmt: skip


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with few fonts, and matplotlib's own."""
    before = fonts._characters

    def characters(path: str, index: int) -> frozenset[int]:
        known = CHARACTERS.get(path)
        return before(path, index) if known is None else frozenset(map(ord, known))

    monkeypatch.setattr(fonts, "_characters", characters)
    own = [e for e in font_manager.fontManager.ttflist if e.name == BASE]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*ENTRIES, *own])


@pytest.mark.parametrize(("text", "expected"), [
    ("cat, Кошка, قطة, é\n", [BASE]),
    ("猫", [BASE, "Noto Sans SC"]),
    ("猫犬", [BASE, "Noto Sans SC", "Zen"]),
    ("ก", [BASE]),
])  # fmt: skip
@pytest.mark.usefixtures("machine")
def test_fonts_are_found_by_their_characters(text: str, expected: list[str]) -> None:
    assert families(text) == expected


@pytest.mark.usefixtures("machine")
def test_fonts_last_as_long_as_the_figures_are_made() -> None:
    before = mpl.rcParams["font.family"]
    with fonts_for(["cat", "猫"]):
        assert mpl.rcParams["font.family"] == [BASE, "Noto Sans SC"]
    assert mpl.rcParams["font.family"] == before


@pytest.mark.parametrize(("text", "expected"), [
    ("cat", "cat"), ("猫 cat", r"\u732b cat"), ("🐈", r"\U0001f408"), ("قطة é", "قطة é"),
    ("\u202etxt\nnext", "\u202etxt\nnext"), ("a\x07", "a?"),
])  # fmt: skip
def test_characters_without_a_font_become_codes(text: str, expected: str) -> None:
    assert with_codes(text) == expected


def test_width_of_texts() -> None:
    assert [columns(text) for text in ("cat", "猫", "e\u0301", "बिल्ली", "")] == [3, 2, 1, 5, 0]
    assert text_width("m", 9) == pytest.approx(text_width("m", 18) / 2, rel=0.1)
    assert text_width("猫", 9) >= 9, "there is room for a square character"


def test_a_shortened_name_keeps_accents() -> None:
    assert shorten("x" * 18, 18) == "x" * 18
    assert shorten("x" * 19, 18) == "x" * 17 + "…"
    assert shorten("猫" * 10, 18) == "猫" * 8 + "…"
    assert shorten("ae\u0301iou", 4) == "ae\u0301i…"


@given(st.text(st.sampled_from("aé猫\u0301\u200d🐈"), max_size=30), st.integers(2, 20))
def test_a_shortened_name_fits(text: str, longest: int) -> None:
    short = shorten(text, longest)
    assert columns(short) <= longest
    assert short == text or text.startswith(short[:-1])
