"""Use a saved model on pictures: `python study/predict.py MODEL IMAGE...`."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.config.defaults import DEFAULTS
from study.errors import print_faults
from tl_core.errors import Fault
from tl_core.files import user_path
from tl_core.text import printable

if TYPE_CHECKING:
    from tl_core.inference.model import Model, Prediction

_ABOUT = "Tell the class of pictures, its probability, and their brightness, by a study's winner."
_EXAMPLES = """\
examples:
  python study/predict.py runs/NAME photo.jpg
  python study/predict.py runs/NAME/winner ./photos --json > predictions.jsonl

exit codes: 0 done, 2 no such model, or pictures that can't be read, 130 interrupted"""
_WIDE = 10_000
"""Columns of a table that no terminal shows: lines stay whole."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 or 130."""
    given = _parser().parse_args(argv)
    # What follows imports torch: a wrong flag, or --help, need not wait for it.
    import torch

    from tl_core.errors import InputError
    from tl_core.inference.serialization import load_model

    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = load_model(_model_path(given.model), device)
        for note in model.notes:
            print(f"note: this model was {note}", file=sys.stderr)
        faults: list[Fault | str] = []
        told = _predict(model, list(_pictures(given.images, faults)), faults)
        (_print_lines if given.json else _print_table)(model, told)
    except InputError as error:
        print_faults("there is no model to predict with", error.faults)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    if faults:
        print_faults("some pictures can't be read", faults)
    return 2 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "study/predict.py",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a study's name or folder, or its winner's folder or file"
    )
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="picture, or a folder with pictures at any depth"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a picture")
    return parser


def _model_path(text: str) -> Path:
    from tl_core.inference.model_card import CARD

    path = user_path(text)
    if not path.exists() and (named := Path(DEFAULTS["out"]) / text).is_dir():
        path = named  # A study's name, as the other programs take it.
    winner = path / "winner"
    return winner if winner.is_dir() and not (path / CARD).exists() else path


def _pictures(given: Iterable[str], faults: list[Fault | str]) -> Iterator[Path]:
    """Yield the files that are meant; add to `faults` the folders that have none."""
    from tl_core.data.folders import files_below

    for path in map(user_path, given):
        files = list(files_below(path)) if path.is_dir() else [path]
        yield from files
        if not files:
            faults.append(f"{path}: the folder has no files")


def _predict(
    model: "Model", paths: Sequence[Path], faults: list[Fault | str]
) -> Iterator[tuple[Path, "Prediction"]]:
    """Yield what the model says of each file; add to `faults` why some can't be read."""
    from tl_core.inference.model import Prediction

    for path, outcome in zip(paths, model.predict_each(paths), strict=True):
        if isinstance(outcome, Prediction):
            yield path, outcome
        else:
            faults += outcome.faults


def _print_lines(model: "Model", told: Iterable[tuple[Path, "Prediction"]]) -> None:
    for path, p in told:
        line = {
            "image": str(path),
            "class": p.class_name,
            "probability": p.probability,
            "probabilities": dict(zip(model.about.classes, p.probabilities, strict=True)),
            "brightness": p.brightness,
        }
        print(json.dumps(line), flush=True)


def _print_table(model: "Model", told: Iterable[tuple[Path, "Prediction"]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("probability", justify="right")
    if "brightness" in model.about.learned:
        table.add_column("brightness", justify="right")
    for path, p in told:
        numbers = [p.probability] + ([] if p.brightness is None else [p.brightness])
        table.add_row(_cell(str(path)), _cell(p.class_name), *(f"{x:.3f}" for x in numbers))
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=_WIDE)
    if table.row_count:
        console.print(table)


def _cell(text: str) -> Text:
    return Text(printable(text))  # A `Text`, as names may hold brackets, which are no markup here.


if __name__ == "__main__":
    sys.exit(main())
