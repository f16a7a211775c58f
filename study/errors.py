"""How the command lines report faults."""

import sys
from collections.abc import Iterable

from tl_core.errors import Fault
from tl_core.text import printable


class NodeError(RuntimeError):
    """A node of the cluster, named in the message, lacks something that every trial needs."""


def print_faults(title: str, faults: Iterable[Fault | str]) -> None:
    """Print a title, and below it each fault, to stderr."""
    print(f"error: {title}", file=sys.stderr)
    for fault in faults:
        print(f"  {printable(str(fault))}", file=sys.stderr)
