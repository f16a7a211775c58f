"""Copies and groups, joined into the rules of a split, and what there is to say about them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tl_core.data.splitting.copies import Copies
from tl_core.data.splitting.rules import PART_WORDS, PARTS, UNUSED, SplitRules
from tl_core.errors import InputError, truncate_list
from tl_core.text import pluralize, printable

_LISTED = 5


class _Kind(NamedTuple):
    """The words for a kind of copies."""

    one: str
    several: str
    means: str
    verdict: str


_EXACT = _Kind("copy", "copies", "the same pixels", "of which one at most is right")
_NEAR = _Kind(
    "near copy",
    "near copies",
    "re-encoded or resized",
    "of which one at most is right if they are one photo",
)


def join_rules(rules: SplitRules, copies: np.ndarray) -> SplitRules:
    """Keep copies of a photo on one side.

    They are a group, and join the groups that they are in. In parts that are given, a photo stays
    in one part alone: test before validation before training; its copies elsewhere are unused.

    Args:
        rules: of N images.
        copies: for each image the first one that shows the same photo, int64 [N].

    Raises:
        InputError: a given part has nothing but copies of images in another one.
    """
    if rules.parts is not None:
        rules = replace(rules, parts=_in_one_part(rules.parts, copies))
    if (copies == np.arange(len(copies))).all():
        return rules
    groups = np.arange(len(copies)) if rules.groups is None else rules.groups
    if rules.parts is not None:  # Unused copies join nothing.
        alone = len(copies) + np.arange(len(copies))
        copies = np.where(rules.parts == UNUSED, alone, copies)
        if rules.groups is None and len(np.unique(copies)) == len(copies):
            return rules
    return replace(rules, groups=_connected(groups, copies))


def _in_one_part(parts: np.ndarray, copies: np.ndarray) -> np.ndarray:
    last = parts.copy()  # Parts have rising numbers, so the largest one of a photo wins.
    np.maximum.at(last, copies, parts)
    found: np.ndarray = np.where(parts == last[copies], parts, UNUSED).astype(parts.dtype)
    if lost := np.setdiff1d(parts, [*found, UNUSED]).tolist():
        names = " and ".join(PART_WORDS[PARTS[part]] for part in lost)
        raise InputError(
            [
                f"each image of the given {names} part is a copy, or a near copy, of an image in a "
                "part that is held out; give that part images of its own"
            ]
        )
    return found


def _connected(groups: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Join the groups of images that are copies of each other; int64 [N]."""
    from scipy.sparse import coo_array  # They take half a second.
    from scipy.sparse.csgraph import connected_components

    _, group = np.unique(groups, return_inverse=True)
    _, photo = np.unique(copies, return_inverse=True)
    n = int(group.max()) + 1
    ones = np.ones(len(group), bool)
    graph = coo_array((ones, (group, n + photo)), shape=(n + int(photo.max()) + 1,) * 2)
    found = connected_components(graph, directed=False)[1][group]
    return np.asarray(found, np.int64)


def unread_notes(given: SplitRules, left: SplitRules) -> Iterator[str]:
    """Say how many images of each given part can't be read, if any.

    Args:
        given: the rules of all images.
        left: those of the images that can be read.

    Raises:
        InputError: no image of a given part can be read; it would be drawn, as one that is not
            given.
    """
    if given.parts is None or left.parts is None:
        return
    before, after = (np.bincount(p, minlength=len(PARTS)) for p in (given.parts, left.parts))
    if lost := np.setdiff1d(given.parts, left.parts).tolist():
        names = (PART_WORDS[PARTS[part]] for part in lost)
        raise InputError(f"no image of the given {name} part can be read" for name in names)
    if (before > after).any():
        counts = (
            f"{pluralize(int(n), 'image')} of {PART_WORDS[part]}"
            for part, n in zip(PARTS, before - after, strict=True)
            if n
        )
        yield f"of the given split, {', '.join(counts)} can't be read and are left out"


def copy_notes(
    copies: Copies,
    labels: np.ndarray,
    ids: Sequence[str],
    classes: Sequence[str],
    given: SplitRules,
    kept: SplitRules,
) -> Iterator[str]:
    """Say how many images are copies, which have two labels, and which are unused.

    Args:
        copies: of N images.
        labels: int64 [N].
        ids: N names.
        classes: K names.
        given: the rules before copies were known.
        kept: those that hold.
    """
    told = (labels, ids, classes)
    yield from _notes_of(copies.same, np.arange(len(labels)), _EXACT, *told)
    yield from _notes_of(copies.near, np.unique(copies.same), _NEAR, *told)
    if given.parts is not None and (given.parts != kept.parts).any():
        unused = np.flatnonzero(given.parts != kept.parts).tolist()
        names = ", ".join(truncate_list((printable(ids[i]) for i in unused), _LISTED))
        where = " and ".join(sorted({PART_WORDS[PARTS[given.parts[i]]] for i in unused}))
        verb = "is" if len(unused) == 1 else "are"
        near = "" if (copies.near == copies.same).all() else " or near copies"
        yield (
            f"{pluralize(len(unused), 'image')} of the given {where} part {verb} not used, as "
            f"copies{near} of photos in a part that is held out: {names}"
        )


def _notes_of(
    first: np.ndarray,
    among: np.ndarray,
    kind: _Kind,
    labels: np.ndarray,
    ids: Sequence[str],
    classes: Sequence[str],
) -> Iterator[str]:
    """Tell the copies among some images, of which `first` names the first one of each photo."""
    photos = [*_copies(first, among)]
    if not photos:
        return
    n = sum(map(len, photos)) - len(photos)
    together = (_together([printable(ids[i]) for i in photo]) for photo in photos)
    named = "; ".join(truncate_list(together, _LISTED))
    yield (
        f"{pluralize(n, f'image is a {kind.one}', f'images are {kind.several}')} of "
        f"{pluralize(len(photos), 'other photo')} ({kind.means}): {kind.several} of a photo stay "
        f"on one side of the split, and count as one group in intervals; {named}"
    )
    if mixed := [photo for photo in photos if len(set(labels[photo].tolist())) > 1]:
        listed = (
            " and ".join(f"{printable(ids[i])} ({printable(classes[labels[i]])})" for i in photo)
            for photo in mixed
        )
        have = pluralize(len(mixed), "photo has", "photos have")
        shown = "; ".join(truncate_list(listed, _LISTED))
        yield f"{have} {kind.several} with two labels, {kind.verdict}: {shown}"


def _together(names: Sequence[str]) -> str:
    """Join the names of one photo's copies: a few, and how many more there are."""
    more = [f"{len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return " and ".join([*names[:_LISTED], *more])


def _copies(first: np.ndarray, among: np.ndarray) -> Iterator[list[int]]:
    """Yield the images of each photo that has copies; sorted once, as there may be a million."""
    photo = first[among]
    copied = among[np.bincount(photo)[photo] > 1]
    if not len(copied):
        return
    by_photo = copied[np.argsort(first[copied], kind="stable")]
    cuts = np.flatnonzero(np.diff(first[by_photo])) + 1
    yield from (of_one.tolist() for of_one in np.split(by_photo, cuts))
