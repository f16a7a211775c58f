"""Text that people read or type: counted things, names that are safe to print, expressions."""

import re
import unicodedata


def pluralize(n: int, thing: str, things: str = "") -> str:
    """Return `no epoch`, `1 epoch` or `1,200 epochs`; `things` if the plural is not `thing` + s."""
    if n == 0:
        return f"no {thing}"
    return f"1 {thing}" if n == 1 else f"{n:,} {things or thing + 's'}"


def printable(text: str) -> str:
    """Escape control characters, and bytes of a file name that are not UTF-8.

    A file name may hold both. Control characters send commands to a terminal. Python holds bytes
    that are not UTF-8 as lone surrogates, and printing one of them raises an error.
    """
    return "".join(
        ascii(each)[1:-1] if unicodedata.category(each) in ("Cc", "Cs") else each for each in text
    )


def compile_expression(pattern: str) -> re.Pattern[str]:
    """Return a regular expression; raises `ValueError` that says why it is none."""
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no regular expression: {error}") from error


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key for names as people order them: numbers in them by value, so 2 comes before 10."""
    # Only ASCII digits: int() refuses some others.
    pieces = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    key = [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in pieces]
    return key, name
