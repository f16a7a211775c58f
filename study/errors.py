"""How the command lines report faults."""

import sys
from collections.abc import Iterable

from tl_core.errors import Fault, InputError
from tl_core.text import printable


class NodeError(RuntimeError):
    """This machine, or a node that the message names, lacks something that every trial needs."""


def print_faults(title: str, faults: Iterable[Fault | str]) -> None:
    """Print a title, and below it each fault, to stderr."""
    print(f"error: {title}", file=sys.stderr)
    for fault in faults:
        print(f"  {printable(str(fault))}", file=sys.stderr)


def refuse_windows(platform: str = sys.platform) -> None:
    """Raise `InputError` on Windows, where neither signals nor Ray work as a study needs them."""
    if platform == "win32":
        raise InputError(
            ["Windows is not supported; WSL 2 runs it: wsl --install, then as on Linux"]
        )
