import os

import pytest

from tl_core.text import pluralize, printable


@pytest.mark.parametrize(
    ("n", "expected"), [(0, "no epoch"), (1, "1 epoch"), (2, "2 epochs"), (1200, "1,200 epochs")]
)
def test_things_are_counted(n: int, expected: str) -> None:
    assert pluralize(n, "epoch") == expected


def test_an_irregular_plural_is_given() -> None:
    assert pluralize(2, "class", "classes") == "2 classes"


@pytest.mark.parametrize("text", ["cat", "grå 猫 قطة 🐈‍⬛", "a\u2215b", r"back\slash", "'\"<&%$"])
def test_printable_text_is_kept(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("new\nline", r"new\nline"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        (os.fsdecode(b"caf\xe9"), r"caf\udce9"),
    ],
)
def test_control_characters_and_bytes_that_are_not_utf8_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()
