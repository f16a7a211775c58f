"""The command line, made from the fields of `Settings`."""

import argparse
import re
import sys
import typing
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from study.config.defaults import DEBUG, DEFAULTS, DEMO, PRESETS
from study.config.settings import Settings, flag
from study.config.uris import without_credentials

_ABOUT = """\
Freeze or fine-tune a pretrained network, at which learning rate, with how much weight on an
auxiliary task, and how much do more labels buy? Searches these four factors on your images."""
_EXAMPLES = """\
examples:
  python study/run.py                                     a small study on drawn cats and dogs
  python study/run.py --gpus 4 --data ./cat_dog --trials 64
  python study/run.py --data ./cat_dog --mode freeze finetune --train-ratio 0.01 0.1 0.8
  python study/run.py --debug --mode freeze --train-ratio 0.1 --lr 1e-3 --aux-weight 0.3
  python study/run.py --preset list                       the article's runs
  python study/run.py --replay demo/7                     repeat one of its trials, without Ray
  python study/run.py --resume demo                       continue a study that was stopped
  python study/run.py --extend demo --trials 32           more trials of a study

exit codes: 0 done, 2 bad input or a node that can't work, 3 done but some trials failed, 4 stopped
as the disk is full, 5 out of time (--max-time), 130 interrupted"""

_NEGATIVE = re.compile(r"-(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|inf|nan)$", re.IGNORECASE)


def parse(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the flags that were given, with their values as text.

    `--preset list` prints the presets and exits with 0; an unknown flag exits with 2.
    """
    return parse_with(run_parser(), argv)


def parse_with(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> dict[str, Any]:
    """Like `parse`, with a parser that `settings_parser` made."""
    given = vars(parser.parse_args(argv))
    if given.get("preset") == "list":
        _print_presets()
        sys.exit(0)
    return given


class _Parser(argparse.ArgumentParser):
    """Tells all negative numbers from flags, and quotes no password in its errors."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # argparse's own pattern takes -1e-3 and -inf for flags, and no option changes it.
        self._negative_number_matcher = _NEGATIVE

    def error(self, message: str) -> NoReturn:
        super().error(" ".join(map(without_credentials, message.split(" "))))


def settings_parser(program: str, about: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser with a flag for each setting; it leaves out those that are not given."""
    parser = _Parser(
        program,
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, field in Settings.model_fields.items():
        parser.add_argument(flag(name), help=_help(name, field), **_shape(name, field))
    flip = "short for --augment flip"
    parser.add_argument("--hflip", action="store_const", const="flip", dest="augment", help=flip)
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
    several = typing.get_origin(field.annotation) is tuple
    if name in ("include", "exclude"):  # They may be given several times as well.
        return {"metavar": "GLOB", "nargs": "+", "action": "extend"}
    return {"metavar": name.upper(), "nargs": "+" if several else None}


def _help(name: str, field: FieldInfo) -> str:
    text = str(field.description)
    notes = [
        f"{where}{_show(layer[name])}"
        for where, layer in (("default ", DEFAULTS), ("demo ", DEMO), ("debug ", DEBUG))
        if layer.get(name) not in (None, False, ())
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
