"""One run of the benchmarks: row after row, each saved as soon as it is measured."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.environment import environment, load
from benchmarks.speed.bench import Bench
from benchmarks.speed.ceilings import ceilings
from benchmarks.speed.harness import Row, SkippedError
from benchmarks.speed.report import show, verdict, write
from benchmarks.speed.row_names import ROWS
from tl_core.errors import InputError


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
            self._bench.tell(f"row {number} of {len(names)}: {name}")
            self._measure(name)
        return int(any(verdict(row) == "gate failed" for row in self.rows))

    def show(self, console: Console) -> None:
        """Print the table, if there is something in it."""
        if self.rows:
            show(self.rows, self._about, console)
            console.print(f"written to {self._out}")

    def _measure(self, name: str) -> None:
        for row in self._rows(name):
            self.rows.append(row)
            self._about["environment"]["load_after"] = load()
            self._write()

    def _rows(self, name: str) -> Iterator[Row]:
        try:
            yield from ROWS[name].load(name)(self._bench)
        except SkippedError as reason:
            yield Row(name, ROWS[name].about, skipped=str(reason))
        except InputError:
            raise
        except Exception as error:  # One broken row must not take the others with it.
            lines = str(error).strip().splitlines() or [""]
            why = f"broke: {type(error).__name__}: {lines[-1]}"
            yield Row(name, ROWS[name].about, gate_text=why, gate_ok=False)

    def _write(self) -> None:
        try:
            write(self._out, self._about, self.rows)
        except OSError as error:
            raise InputError([f"--out {self._out} can't be written: {error.strerror}"]) from error
