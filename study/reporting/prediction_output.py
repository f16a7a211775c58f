"""Predictions of a saved model for picture files, printed as JSON lines or as a table."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.signals import nobody_reads
from tl_core.data.folders import files_below
from tl_core.data.given.manifest import is_manifest
from tl_core.data.scanning.outputs import PassedOver
from tl_core.errors import Fault
from tl_core.files import user_path
from tl_core.inference.model import Model, Prediction
from tl_core.text import natural_key, pluralize, printable

_WIDE = 10_000
"""Columns of a table outside a terminal, so that its lines are not broken."""


def find_pictures(given: Iterable[str], faults: list[Fault | str]) -> list[Path]:
    """Return the files that are given or in a given folder, each once.

    Adds empty folders to `faults`. Says on standard error which folders and tables in a given one
    are passed over.
    """
    paths: dict[str, Path] = {}
    for path in map(user_path, given):
        passed = PassedOver()
        # Not pathlib, which raises an error for a path that this user can't look at.
        is_folder = os.path.isdir(path)  # noqa: PTH112
        files = list(files_below(path, passed=passed)) if is_folder else [path]
        # A manifest lies beside its photos.
        tables = {file for file in files if is_folder and is_manifest(str(file))}
        files = [file for file in files if file not in tables]
        for table in sorted(tables):
            passed.add("a table", table)
        for note in passed.notes(path):
            print(f"note: {note}", file=sys.stderr)
        for file in files:  # One that is given may be in a given folder, too.
            paths.setdefault(os.path.abspath(file), file)  # noqa: PTH100, links are not followed.
        if not files:
            faults.append(f"{path}: the folder has no pictures")
    return [*paths.values()]


def predict(
    model: Model, paths: Sequence[Path], faults: list[Fault | str]
) -> Iterator[tuple[Path, Prediction]]:
    """Yield the prediction for each file; add the reasons for unreadable ones to `faults`."""
    for path, outcome in zip(paths, model.predict_each(paths), strict=True):
        if isinstance(outcome, Prediction):
            yield path, outcome
        else:
            faults += outcome.faults


def print_lines(model: Model, predictions: Iterable[tuple[Path, Prediction]]) -> None:
    """Print a JSON object for each prediction, until nobody reads them.

    Its classes are in natural order.
    """
    classes = model.about.classes
    places = {name: classes.index(name) for name in sorted(classes, key=natural_key)}
    for path, p in predictions:
        line = {
            "image": str(path),
            "class": p.class_name,
            "probability": p.probability,
            "probabilities": {name: p.probabilities[i] for name, i in places.items()},
        }
        if model.about.aux.kind != "none":
            line[model.about.aux.key] = p.auxiliary
        print(json.dumps(line), flush=True)
        if nobody_reads():
            return


def print_table(model: Model, predictions: Iterable[tuple[Path, Prediction]], total: int) -> None:
    """Print a table with a row for each prediction, if there are any; also at an interrupt.

    A terminal shows how many of `total` pictures there are meanwhile: the widths of the columns are
    known at the end.
    """
    table = Table("image", "class", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    task = model.about.aux
    for name in ("probability", *([task.name] if task.name in model.about.learned else [])):
        table.add_column(Text(printable(name)), justify="right")
    try:
        with Console(stderr=True).status("predicting") as status:
            for path, p in predictions:
                values = [p.probability] + ([] if p.auxiliary is None else [p.auxiliary])
                shown = (printable(v) if isinstance(v, str) else f"{v:.3f}" for v in values)
                # `Text`, because rich reads brackets in a plain string as markup.
                texts = [Text(printable(text)) for text in (str(path), p.class_name)]
                table.add_row(*texts, *map(Text, shown))
                status.update(f"predicting: {table.row_count} of {pluralize(total, 'picture')}")
    finally:
        _print(table)


def _print(table: Table) -> None:
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=_WIDE)
    if table.row_count:
        console.print(table)
