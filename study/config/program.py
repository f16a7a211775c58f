"""The commands that this program prints: they should work as they are."""

import shlex
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from study.config.defaults import DEFAULTS, layers_of
from study.config.settings import Settings, flag
from study.config.values import show_folder

_PACKAGE = Path(__file__).resolve().parents[1]
PLACES = {"name", "out", "cache", "address", "storage", "jobs", "max_time"}
"""Settings of places on one machine, and of one run; a new run chooses its own.

MLflow's store is none of them: in another one, runs could not be compared.

`offline` is none of them: who sent nothing to MLflow must not begin to by a copied command.
"""
_LAYERS = ("data", "backbone", "debug", "preset")
"""Settings that the defaults of others depend on; the command always has them."""
_DECIDING = ("mode", "train_ratio", "objective", "aux")
"""Settings that the defaults of `trials`, `design` and `aux_weight` depend on."""


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


def command_of(settings: Settings, shown: Collection[str] = ()) -> str:
    """Return the command line that gives these settings; of `PLACES` it has `--out` alone.

    The settings are those that a study has stored: its store's URI has no credentials.
    It leaves out defaults, but never those of the settings `shown`, nor the precision, whose
    default depends on the hardware.
    """
    layers = {name: getattr(settings, name) for name in _LAYERS if getattr(settings, name)}
    deciding = {name: getattr(settings, name) for name in _DECIDING}
    defaults = Settings.model_validate(layers_of(layers | deciding) | layers)
    words = ["python", "study/run.py"]
    for name in Settings.model_fields:
        value = getattr(settings, name)
        written = bool(value) if name in _LAYERS else value != getattr(defaults, name)
        written = written or name in shown
        if not written or name in PLACES or (name == "data" and settings.train):
            continue
        if isinstance(value, bool):
            words.append(spelled(name, value))
        else:
            words += _given(flag(name), value if isinstance(value, tuple) else (value,))
    return shlex.join([*words, *out_words(settings.out)])


def _given(name: str, values: Iterable[object]) -> list[str]:
    """A flag with its values; one that begins with a dash would be taken for a flag."""
    texts = [*map(str, values)]
    dashed = any(text.startswith("-") for text in texts)
    return [f"{name}={text}" for text in texts] if dashed else [name, *texts]


def out_words(out: Path) -> list[str]:
    """The `--out` of a command that belongs to a study, so that it looks in the same place."""
    return [] if out == DEFAULTS["out"] else ["--out", show_folder(out)]


def spelled(name: str, value: object) -> str:
    """Return the flag as it was given: `--no-x` for a switch that is on by default."""
    return f"--no-{name.replace('_', '-')}" if value is False else flag(name)
