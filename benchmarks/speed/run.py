"""One run of the benchmarks: row after row, each saved in the JSON file once it is measured."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.common import environment, load
from benchmarks.speed.bench import Bench, ceilings
from benchmarks.speed.harness import Row, SkippedError, verdict
from tl_core.errors import InputError
from tl_core.files import replace_file

ROWS: dict[str, tuple[str, str]] = {
    "fused-heads": ("frozen", "heads of 32 seeds fused against one after another"),
    "probe": ("probe", "a converged probe for 45 penalties against scikit-learn's"),
    "extraction": ("frozen", "FLOP/s of features at 224 px against a matrix product"),
    "cpu-training": ("study", "training images/s on a CPU against a DataLoader loop"),
    "partial-step": ("partial", "a step of the last stage on cached activations, of the whole net"),
    "attach-memory": ("memory", "attach time and total PSS with 1, 2 and 4 workers"),
    "orchestration": ("overhead", "milliseconds per no-op trial"),
    "tracking-study": ("overhead", "wall time of a frozen study with MLflow, without"),
    "frozen-study": ("study", "frozen trials an hour against a naive Ray Tune study"),
    "finetune-study": ("study", "the same for fine-tuning"),
    "frozen-trial": ("sweeps", "one more frozen trial of 8 seeds, in a batch and in a study"),
    "start-end": ("start_end", "start and end of two small frozen studies, wall and CPU"),
    "start-to-report": ("whole", "the command of 64 frozen trials against a naive study"),
    "frozen-256": ("whole", "256 frozen configurations of 8 seeds against one pass, 224 px"),
    "partial-trial": ("whole", "a trial of partial against one of finetune"),
    "trials-growth": ("overhead", "16 to 256 frozen trials"),
    "images-growth": ("overhead", "600 to 9,600 images"),
}
"""Name -> (module in `rows/`, what it measures), in the order in which they run.

The function has the row's name and may yield several rows; it is imported when it runs, since Ray
takes seconds."""
_STYLES = {"held": "green", "missed": "yellow", "gate failed": "red", "skipped": "dim"}


class Run:
    """The rows measured so far, and the file that holds them."""

    def __init__(self, bench: Bench, out: Path, options: dict[str, Any]) -> None:
        self._bench, self._out = bench, out
        self._about: dict[str, Any] = {"options": options}
        self.rows: list[Row] = []

    def measure(self, names: list[str]) -> int:
        """Measure the rows; return 1 if one broke or its gate failed, else 0."""
        self._bench.images  # noqa: B018 - bad input ends the run before anything is measured
        self._about |= {"environment": environment(), "ceilings": ceilings(self._bench.device)}
        for number, name in enumerate(names, start=1):
            self._bench.log(f"row {number} of {len(names)}: {name}")
            for row in self._rows(name):
                self.rows.append(row)
                self._about["environment"]["load_after"] = load()
                self._write()
        return int(any(verdict(row) == "gate failed" for row in self.rows))

    def show(self, console: Console) -> None:
        """Print the table, if there are rows."""
        if self.rows:
            console.print(_table(self.rows))
            console.print(_footer(self._about), highlight=False)
            console.print(f"written to {self._out}")

    def _rows(self, name: str) -> Iterator[Row]:
        module, about = ROWS[name]
        try:
            rows = import_module(f"benchmarks.speed.rows.{module}")
            yield from getattr(rows, name.replace("-", "_"))(self._bench)
        except SkippedError as reason:
            yield Row(name, about, skipped=str(reason))
        except InputError:
            raise
        except Exception as error:  # The other rows are still measured.
            lines = str(error).strip().splitlines() or [""]
            why = f"broke: {type(error).__name__}: {lines[-1]}"
            yield Row(name, about, gate_text=why, gate_ok=False)

    def _write(self) -> None:
        rows = [asdict(row) | {"verdict": verdict(row)} for row in self.rows]
        try:
            text = json.dumps(self._about | {"rows": rows}, indent=2, default=str)
            replace_file(self._out, text + "\n")
        except OSError as error:
            raise InputError([f"--out {self._out} can't be written: {error.strerror}"]) from error


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="benchmarks", box=box.SIMPLE_HEAD)
    for name in ("row", "median", "spread", "n", "target"):
        table.add_column(name, no_wrap=True)
    table.add_column("verdict", max_width=48)
    table.add_column("what")
    for row in rows:
        target = "" if row.target is None else f"{row.direction} {_number(row.target, row.unit)}"
        numbers = ["", "", ""]
        if row.median is not None and row.low is not None and row.high is not None:
            spread = f"{_digits(row.low)} .. {_digits(row.high)}"
            numbers = [_number(row.median, row.unit), spread, str(row.repeats)]
        word = verdict(row)
        why = row.skipped or (row.gate_text if not row.gate_ok else "")
        shown = Text(f"{word}: {why}" if why else word, _STYLES.get(word, ""))
        table.add_row(row.name, *numbers, target, shown, row.what)
    return table


def _number(value: float, unit: str) -> str:
    return f"{_digits(value)} {unit}".removesuffix(" of 1")


def _digits(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _footer(about: dict[str, Any]) -> str:
    where = about["environment"]
    limits = ", ".join(f"{name} {value:,.4g}" for name, value in about["ceilings"].items())
    versions = ", ".join(f"{name} {value}" for name, value in where["versions"].items())
    gpus = ", ".join(where["hardware"]["gpus"]) or "no GPU"
    return (
        f"ceilings: {limits}\n{where['cpu']}, {where['hardware']['cpus']} cores, {gpus}; "
        f"load {where['load_before']} before, {where.get('load_after', ())} after\n{versions}"
    )
