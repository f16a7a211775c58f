"""Command lines that begin as many do, with words of their own behind."""

from collections.abc import Iterable


def latest(words: Iterable[object]) -> list[str]:
    """The words as text, without flags, and their values, that come again later.

    Most flags take one value, and the others add up.
    """
    given: dict[str, list[str]] = {"": []}
    name = ""
    for word in map(str, words):
        name = word if word.startswith("--") else name
        given[name] = [] if word == name else [*given[name], word]
    first = given.pop("")
    return [*first, *(word for name, values in given.items() for word in (name, *values))]
