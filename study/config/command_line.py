"""The command line, made from the fields of `Settings`."""

import argparse
import difflib
import itertools
import re
import sys
import typing
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from study.config.defaults import DEBUG, DEFAULTS, DEMO
from study.config.presets import PRESETS
from study.config.settings import Settings, flag
from study.config.uris import without_credentials

_ABOUT = """\
Freeze or fine-tune a pretrained network, at which learning rate, with how much weight on an
auxiliary task, and how much do more labels buy? Searches these four factors on your images."""
_EXAMPLES = """\
examples:
  python study/run.py --name demo                         a small study on drawn cats and dogs
  python study/run.py --gpus 4 --data ./cat_dog --trials 64
  python study/run.py --data ./cat_dog --mode freeze finetune --train-ratio 0.01 0.1 0.8
  python study/run.py --debug --mode freeze --train-ratio 0.1 --lr 1e-3 --aux-weight 0.3
  python study/run.py --preset list                       the article's runs
  python study/run.py --replay demo/7                     repeat one of its trials, without Ray
  python study/run.py --resume demo                       continue a study that was stopped
  python study/run.py --extend demo --trials 32           more trials of a study

exit codes: 0 done, 2 bad input, a node that can't work, or a --max-time that is too short however
often the study goes on, 3 done but some trials failed, or a replay has other numbers, 4 the disk is
full, 5 out of time: --resume goes on, or before the first trial the same command, 130 stopped"""

_NEGATIVE = re.compile(r"-(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|inf|nan)$", re.IGNORECASE)

_ALIKE = 0.7
"""Flags that are at least so much alike, from 0 to 1 by difflib, may be mistaken for each other."""


def parse(
    argv: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None
) -> dict[str, Any]:
    """Return the flags that were given, with their values as text.

    `parser` is one that `settings_parser` made; that of `study/run.py` by default. `--preset list`
    prints the presets and exits with 0; an unknown flag exits with 2.
    """
    given = vars((parser or run_parser()).parse_args(argv))
    if given.get("preset") == "list":
        _print_presets()
        sys.exit(0)
    return given


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line: what is wrong, and the flags that were meant.

    It tells all negative numbers from flags, and quotes no password. Flags are written in full.
    """

    def __init__(self, program: str, about: str, epilog: str | None = None, **options: Any) -> None:
        super().__init__(
            program,
            description=about,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )
        # argparse's own pattern takes -1e-3 and -inf for flags, and no option changes it.
        self._negative_number_matcher = _NEGATIVE

    def error(self, message: str) -> NoReturn:
        """Print an error and exit with 2, without the usage, which is longer than a screen."""
        words = message.split(" ")
        meant = " or ".join(self._meant(words))
        hint = f" (did you mean {meant}?)" if meant else ""
        shown = " ".join(map(without_credentials, words))
        self.exit(2, f"error: {shown}{hint}; --help lists all flags\n")

    def _meant(self, words: Sequence[str]) -> list[str]:
        """The flag that is most like each of those that do not exist; none for other words."""
        # Without dashes, which make all flags alike.
        known = {name.lstrip("-"): name for name in self._option_string_actions}
        # A word may be `--x=1`, or `--x:` in argparse's own sentences.
        given = (re.split("[=:]", word)[0] for word in words if word.startswith("-"))
        unknown = [name.lstrip("-") for name in given if name not in known.values()]
        near = (difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE) for name in unknown)
        return [known[name] for name in dict.fromkeys(itertools.chain.from_iterable(near))]


def settings_parser(program: str, about: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser with a flag for each setting; it leaves out those that are not given."""
    parser = Parser(program, about, examples, argument_default=argparse.SUPPRESS)
    one_of = parser.add_mutually_exclusive_group()  # Nothing would read the first of the two.
    for name, field in Settings.model_fields.items():
        to = one_of if name == "augment" else parser
        to.add_argument(flag(name), help=_help(name, field), **_shape(name, field))
    flip = "short for --augment flip"
    one_of.add_argument("--hflip", action="store_const", const="flip", dest="augment", help=flip)
    return parser


def run_parser() -> argparse.ArgumentParser:
    """Return the parser of `study/run.py`."""
    parser = settings_parser("study/run.py", _ABOUT, _EXAMPLES)
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        metavar="NAME",
        help="continue a study that was stopped or killed; finished trials are not run again",
    )
    again.add_argument(
        "--extend",
        metavar="NAME",
        help="add --trials N to a study: same search, same data",
    )
    again.add_argument(
        "--replay",
        metavar="NAME/TRIAL",
        help="run a trial of a study again, without Ray, and compare its numbers with the record",
    )
    return parser


def _shape(name: str, field: FieldInfo) -> dict[str, Any]:
    if field.annotation is bool:
        off = DEFAULTS.get(name) is True
        return {"action": argparse.BooleanOptionalAction if off else "store_true"}
    if name == "preset":
        return {"choices": [*PRESETS, "list"], "metavar": "PRESET"}
    if typing.get_origin(field.annotation) is tuple:  # It may be given several times as well.
        metavar = "GLOB" if name in ("include", "exclude") else name.upper()
        return {"action": "extend", "nargs": "+", "metavar": metavar}
    return {"metavar": name.upper()}


def _help(name: str, field: FieldInfo) -> str:
    text = str(field.description)
    notes = [
        f"{where}{_show(value)}"
        for where, layer in (("default ", DEFAULTS), ("demo ", DEMO), ("debug ", DEBUG))
        if (value := layer.get(name)) is not None and value is not False and value != ()
    ]
    return (text + (f" ({'; '.join(notes)})" if notes else "")).replace("%", "%%")


def _show(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _print_presets() -> None:
    table = Table("preset", "what it reproduces", "settings", title="--preset NAME")
    for name, preset in PRESETS.items():
        values = " ".join(f"{flag(key)} {_show(value)}" for key, value in preset.values.items())
        table.add_row(name, preset.about, values)
    Console().print(table)
