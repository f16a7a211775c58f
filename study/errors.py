"""How the command lines tell what is wrong."""

import sys
from collections.abc import Iterable

from tl_core.errors import Fault
from tl_core.text import printable


class NodeError(RuntimeError):
    """A node of the cluster, named in the message, lacks what every trial there would need."""


def print_faults(title: str, faults: Iterable[Fault | str]) -> None:
    """Print them to stderr, a line each, below what can't be done."""
    print(f"error: {title}", file=sys.stderr)
    for fault in faults:
        print(f"  {printable(str(fault))}", file=sys.stderr)
