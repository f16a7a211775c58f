"""How this program was started, for the commands that it prints: they should work as they are."""

import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def command(name: str) -> list[str]:
    """Return the words that start a sub-command, such as `run`, as this program was started.

    That is by the command `tl-study` or by the path of a script; `python study/run.py`, as in the
    folder of the clone, for any other program. A report that others may read names that one, too.
    """
    started = Path(sys.argv[0])
    if started.name == "tl-study":
        return ["tl-study", name]
    scripts = started.parent
    if not ((scripts / f"{name}.py").is_file() and scripts.resolve() == _PACKAGE):
        scripts = Path("study")
    return ["python", str(scripts / f"{name}.py")]
