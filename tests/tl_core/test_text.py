import os

import pytest

from tl_core.text import pluralize, printable


def test_things_are_counted() -> None:
    counts = [pluralize(n, "epoch") for n in (0, 1, 2, 1200)]
    assert counts == ["no epoch", "1 epoch", "2 epochs", "1,200 epochs"]
    assert pluralize(2, "class", "classes") == "2 classes"


KEPT = ("cat", "grå 猫 قطة 🐈‍⬛", "a\u2215b", r"back\slash", "'\"<&%$")


@pytest.mark.parametrize(
    ("text", "shown"),
    [*((text, text) for text in KEPT), ("new\nline", r"new\nline"), ("\x9b31m", r"\x9b31m"),
     ("\x1b[31mred", r"\x1b[31mred"), (os.fsdecode(b"caf\xe9"), r"caf\udce9")],
)  # fmt: skip
def test_control_characters_and_bytes_that_are_not_utf8_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()
