"""The command `tl-study`, also `python -m study`: hands on to the script of a sub-command."""

import sys
from collections.abc import Sequence
from importlib import import_module

from study.signals import run_command

_COMMANDS = {
    "run": "run a study: search, confirm, report",
    "doctor": "check whether a study can start, and estimate how long it takes",
    "report": "rebuild the report of a study",
    "predict": "classify images with a study's winner",
    "sync": "send to MLflow what it lacks of a study",
    "manifest": "list the images of a folder in a table, to edit and study",
}
_COLUMNS = max(map(len, _COMMANDS))
_USAGE = "\n".join(
    [
        "usage: tl-study COMMAND [FLAGS]\n",
        *(f"  {name:{_COLUMNS}}  {purpose}" for name, purpose in _COMMANDS.items()),
        "\n`tl-study COMMAND --help` lists the flags of a command.",
    ]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; return its exit code, or 2 if the name is unknown."""
    words = list(sys.argv[1:] if argv is None else argv)
    # The usage, too, may go to a reader that is gone, or onto a full disk.
    return run_command("the command can't start", lambda: _hand_on(words))


def _hand_on(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE, file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    name, *rest = words
    if name not in _COMMANDS:
        *others, last = _COMMANDS
        known = f"{', '.join(others)} or {last}"
        print(f"error: unknown command {name!r}; use {known}", file=sys.stderr)
        return 2
    # Imported here, because each script imports other libraries.
    return int(import_module(f"study.{name}").main(rest))


if __name__ == "__main__":
    sys.exit(main())
