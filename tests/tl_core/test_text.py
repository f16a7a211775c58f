import os

import pytest

from tl_core.text import natural_key, pluralize, printable


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


@pytest.mark.parametrize("names", [
    ["1", "2", "9", "10", "11", "12", "100"],
    ["a", "B", "c"],
    ["grade 2", "grade 10", "grade 10b", "Grade 11"],
    ["", "0", "00", "x", "x1y2", "x1y10", "x2y1", "\u0664", "\u732b"],
    ["v1.2", "v1.10"],
])  # fmt: skip
def test_numbers_in_names_are_ordered_by_value(names: list[str]) -> None:
    turned = names[::-1]
    assert sorted(turned, key=natural_key) == names
