"""Classes and groups that the paths of images tell, by a regular expression."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tl_core.data.folders import files_below
from tl_core.data.scanning.layouts import PICTURES
from tl_core.data.scanning.names import name_notes
from tl_core.data.scanning.outputs import PassedOver
from tl_core.data.sources import Source, files_source
from tl_core.errors import Fault, InputError, truncate_list
from tl_core.text import compile_expression, printable


def captured(
    flag: str, pattern: str, paths: Sequence[str], skip_unmatched: bool = False
) -> list[str | None]:
    """Return what a regular expression finds in each path; None where it finds nothing.

    This is the text of its capture groups, joined by `/`, or all that it matches if it has none.
    A group that takes no part in the match is `None`, or left out with `skip_unmatched`. If none
    does, or all are empty, nothing is found.

    Raises `InputError` for `flag` if it is no regular expression, or matches no path.
    """
    try:
        expression = compile_expression(pattern)
    except ValueError as error:
        raise InputError([Fault(flag, f"{pattern}: {error}")]) from error
    found = [expression.search(path) for path in paths]
    names = [match and _text(match, skip_unmatched) for match in found]
    if not any(names):
        why = f"matches no path, such as {printable(paths[0])}" if paths else "there are no files"
        raise InputError([Fault(flag, f"{pattern}: {why}")])
    return names


def _text(match: re.Match[str], skip_unmatched: bool) -> str | None:
    groups = match.groups() or (match[0],)
    if not any(groups):
        return None
    return "/".join(str(g) for g in groups if g is not None or not skip_unmatched)


def label_by_regex(folder: Path, pattern: str) -> Source:
    """Return the images of a folder, at any depth, with the class that each path tells.

    Files that do not match, and do not end as pictures do, are left out.

    Raises `InputError` if a picture does not match, or there are fewer than two classes.
    """
    root = Path(os.path.realpath(folder))
    passed = PassedOver()
    files = [*files_below(root, passed=passed)]
    ids = [path.relative_to(root).as_posix() for path in files]
    names = captured("--label-regex", pattern, ids, skip_unmatched=True)
    unlabelled = [
        f"{pattern}: finds no class in {printable(path)}"
        for path, name in zip(ids, names, strict=True)
        if not name and Path(path).suffix.lower() in PICTURES
    ]
    if unlabelled:
        raise InputError(Fault("--label-regex", why) for why in truncate_list(unlabelled))
    used = [(path, file, name) for path, file, name in zip(ids, files, names, strict=True) if name]
    classes = tuple(sorted({name for *_, name in used}))
    if len(classes) < 2:
        why = f"{pattern}: finds one class alone, {classes[0]!r}; a study needs two or more"
        raise InputError([Fault("--label-regex", why)])
    return files_source(
        printable(str(root)),
        classes,
        tuple(path for path, *_ in used),
        [(file, classes.index(name)) for _, file, name in used],
        notes=(*passed.notes(root), *name_notes(classes)),
    )
