"""Names in a checkpoint that a training program has put below a name of its own, as `model.`."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator

_TRIED = 3


class SeveralNetworksError(Exception):
    """More than one prefix gives the whole network."""


def find_prefix(
    needed: Collection[str], names: Collection[str], present: Callable[[str], str]
) -> str:
    """Return the prefix below which a checkpoint has all needed names; empty if there is none.

    Args:
        needed: names that the network has.
        names: names in the checkpoint.
        present: gives the present name of an entry, whose name may be one of an older version.

    Raises:
        SeveralNetworksError: there are several such prefixes; the message has two.
    """

    def is_whole(prefix: str) -> bool:
        return {*needed} <= {present(name) for name in below(prefix, names)}

    if is_whole(""):
        return ""
    shared = Counter(
        name.removesuffix(end) for name in names for end in needed if name.endswith(f".{end}")
    )
    whole = [prefix for prefix, _ in shared.most_common(_TRIED) if is_whole(prefix)]
    if len(whole) > 1:
        raise SeveralNetworksError(" and ".join(sorted(whole)[:2]))
    return whole[0] if whole else ""


def below(prefix: str, names: Collection[str]) -> Iterator[str]:
    """Yield the names that begin with a prefix, without it."""
    return (name.removeprefix(prefix) for name in names if name.startswith(prefix))
