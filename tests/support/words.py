"""Command lines that begin as many do, with words of their own behind."""

from collections.abc import Iterable


def latest(words: Iterable[object]) -> list[str]:
    """The words as text, without flags, and their values, that come again later.

    Of a flag of one value the last one holds anyway, but those of several values add up.
    """
    given: dict[str, list[str]] = {"": []}
    name = ""
    for word in map(str, words):
        name = word if word.startswith("--") else name
        given[name] = [] if word == name else [*given[name], word]
    first = given.pop("")
    return [*first, *(word for name, values in given.items() for word in (name, *values))]
