"""Names of classes that people may have meant as one."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tl_core.text import printable


def name_notes(classes: Sequence[str]) -> Iterator[str]:
    """Yield a note for classes whose names differ in case, spaces, `-` or `_` alone."""
    same: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        same["".join(c for c in name.casefold() if c not in " -_")].append(name)
    for names in same.values():
        if len(names) > 1:
            shown = " and ".join(repr(printable(name)) for name in names)
            yield f"classes {shown} have nearly the same name: if they are one class, merge them"
