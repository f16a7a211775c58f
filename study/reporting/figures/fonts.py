"""Fonts for the characters of names: found on this machine, or codes in their place.

A browser picks a font for any script by itself, so only PNG needs this.
"""

import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.textpath import text_to_path

BASE = "DejaVu Sans"
"""It comes with matplotlib, and has Latin, Greek, Cyrillic and Arabic letters."""
_LIKE_BASE = ("Noto Sans", "Hiragino Sans", "PingFang", "Microsoft YaHei", "Segoe UI", "Nirmala UI")
"""Families that look well beside it, by the beginnings of their names."""
_PLACEHOLDERS = ("lastresort", "last resort", "blank", "fallback")
"""Fonts that have a box for every character."""


@contextmanager
def fonts_for(texts: Iterable[str]) -> Iterator[None]:
    """Let figures that are made inside show these texts, as far as this machine has the fonts."""
    with mpl.rc_context({"font.family": families("".join(texts))}):
        yield


def families(text: str) -> list[str]:
    """Return `BASE`, then as few other families as have those of its characters that are left."""
    found, left = [BASE], set(_without_glyph(text, [BASE]))
    for entry in _entries() if left else ():
        here = {c for c in left if ord(c) in _characters(entry.fname, entry.index)}
        if here:
            found.append(entry.name)
            left -= here
        if not left:
            break
    return found


def with_codes(text: str) -> str:
    """Return the text with a code, as `\\u732b`, for each character that the current fonts lack."""
    lacking = _without_glyph(text, mpl.rcParams["font.family"])
    return "".join(_code(c) if c in lacking else c for c in text)


def text_width(text: str, size: float) -> float:
    """Return the width of a line in the current fonts of this size; both in points."""
    with warnings.catch_warnings():
        # Matplotlib's boxes for characters without a font are as wide as wide characters.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        width, _, _ = text_to_path.get_text_width_height_descent(
            text, FontProperties(size=size), ismath=False
        )
    return float(width)


def columns(text: str) -> int:
    """Return the width of a text in columns: two for a Chinese character, none for an accent."""
    return sum(map(_columns_of, text))


def shorten(text: str, longest: int) -> str:
    """Return the text if it has at most `longest` columns, else its beginning and `…`.

    A character keeps its accents and vowel signs.
    """
    if columns(text) <= longest:
        return text
    end = width = 0
    for i, character in enumerate(text):
        width += _columns_of(character)
        if width >= longest:
            break
        end = i + 1
    return text[:end].rstrip("\N{ZERO WIDTH JOINER}") + "…"


def _columns_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _code(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if character > "~" else "?"


def _without_glyph(text: str, names: Iterable[str]) -> set[str]:
    """The characters that no font of these families has; line breaks and marks need none."""
    drawn = {c for c in text if unicodedata.category(c) != "Cf" and c != "\n"}
    if all(" " <= c <= "~" for c in drawn):
        return set()
    there: set[int] = set()
    for name in names:
        path = font_manager.findfont(FontProperties(family=[name]))
        there |= _characters(str(path), getattr(path, "face_index", 0))
    return {c for c in drawn if ord(c) not in there}


def _entries() -> list[FontEntry]:
    """The upright regular fonts, those of `_LIKE_BASE` first."""
    regular = [
        e
        for e in font_manager.fontManager.ttflist
        if e.style == "normal"
        and e.weight in (400, "normal", "regular")
        and not any(word in e.name.lower() for word in _PLACEHOLDERS)
    ]
    return sorted(regular, key=lambda e: (not e.name.startswith(_LIKE_BASE), e.name))


@lru_cache(maxsize=1024)
def _characters(path: str, index: int) -> frozenset[int]:
    """The characters of a font that can be drawn in any size; none if it has only bitmaps."""
    try:
        font = FT2Font(path, face_index=index)
        font.set_size(9, 72)  # Fonts of colour pictures refuse it.
        return frozenset(font.get_charmap())
    except (RuntimeError, OSError):
        return frozenset()
