"""How the command lines report faults."""

import sys
from collections.abc import Collection, Iterable

from tl_core.errors import Fault, InputError, in_a_line
from tl_core.text import printable

NOT_TEXT = "is not text in this system's encoding; set LANG=C.UTF-8"


class NodeError(RuntimeError):
    """This machine, or a node that the message names, lacks something that every trial needs."""


def why_failed(error: Exception) -> str:
    """Why a task or a worker of Ray has failed, in a line.

    Ray's own errors end with the reason; what they hold of the task's begins with it.
    """
    if cause := getattr(error, "cause", None):
        return in_a_line(cause)
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def fault_code(title: str, faults: Collection[Fault | str]) -> int:
    """Print faults, if there are any; return the exit code: 0 without one, else 2."""
    if faults:
        print_faults(title, faults)
    return 2 if faults else 0


def print_faults(title: str, faults: Iterable[Fault | str]) -> None:
    """Print a title, and below it each fault, to stderr."""
    print(f"error: {title}", file=sys.stderr)
    for fault in faults:
        print(f"  {printable(str(fault))}", file=sys.stderr)


def refuse_windows() -> None:
    """Raise `InputError` on Windows, where neither signals nor Ray work as a study needs them."""
    platform: str = sys.platform
    if platform == "win32":
        raise InputError(
            ["Windows is not supported; WSL 2 runs it: wsl --install, then as on Linux"]
        )
