"""Names of classes that people may have meant as one."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tl_core.errors import Fault
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


def same_name_faults(classes: Sequence[str]) -> Iterator[Fault]:
    """Yield a fault for names that look the same: a copy from another system, not another class."""
    first: dict[str, str] = {}
    for name in classes:
        other = first.setdefault(unicodedata.normalize("NFC", name), name)
        if other is not name:
            why = "have the same name in two encodings (Unicode NFC and NFD); merge them, or rename"
            yield Fault(None, f"class folders {other!a} and {name!a} {why} one")
