import os
from pathlib import Path

import pytest

from tl_core.paths import printable, user_path


@pytest.mark.parametrize("text", ["cat", "grå 猫 قطة 🐈‍⬛", "a\u2215b", r"back\slash", "'\"<&%$"])
def test_what_can_be_shown_stays_as_it_is(text: str) -> None:
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
def test_what_commands_a_terminal_or_is_no_text_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()


def test_a_home_that_is_not_known_is_no_error() -> None:
    assert user_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
