"""What a run leaves: one table on the terminal and one JSON file."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.speed.harness import Row
from tl_core.files import replace_file

_STYLES = {"held": "green", "missed": "yellow", "gate failed": "red", "skipped": "dim"}


def write(path: Path, about: dict[str, Any], rows: Sequence[Row]) -> None:
    """Replace the JSON file whole: a reader, or a kill, never meets half of it."""
    value = about | {"rows": [asdict(row) | {"verdict": verdict(row)} for row in rows]}
    replace_file(path, json.dumps(value, indent=2, default=str) + "\n")


def verdict(row: Row) -> str:
    """One word, or two, on how a row came out."""
    if row.skipped:
        return "skipped"
    if not row.gate_ok:
        return "gate failed"
    return {True: "held", False: "missed", None: "measured"}[row.held]


def show(rows: Sequence[Row], about: dict[str, Any], console: Console) -> None:
    """Print the table."""
    table = Table(title="benchmarks", box=box.SIMPLE_HEAD)
    for name in ("row", "median", "spread", "n", "target"):
        table.add_column(name, no_wrap=True)
    table.add_column("verdict", max_width=48)
    table.add_column("what")
    for row in rows:
        told = Text(_tell(row), _STYLES.get(verdict(row), ""))
        table.add_row(row.name, *_numbers(row), told, row.what)
    console.print(table)
    console.print(_footer(about), highlight=False)


def _numbers(row: Row) -> tuple[str, str, str, str]:
    target = "" if row.target is None else f"{row.direction} {_number(row.target, row.unit)}"
    if row.median is None or row.low is None or row.high is None:
        return "", "", "", target
    spread = f"{_digits(row.low)} .. {_digits(row.high)}"
    return _number(row.median, row.unit), spread, str(row.repeats), target


def _number(value: float, unit: str) -> str:
    return f"{_digits(value)} {unit}".removesuffix(" of 1")


def _digits(value: float) -> str:
    """Three that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _tell(row: Row) -> str:
    word = verdict(row)
    why = row.skipped or (row.gate_text if not row.gate_ok else "")
    return f"{word}: {why}" if why else word


def _footer(about: dict[str, Any]) -> str:
    where, ceilings = about["environment"], about["ceilings"]
    told = ", ".join(f"{name} {value:,.4g}" for name, value in ceilings.items())
    versions = ", ".join(f"{name} {value}" for name, value in where["versions"].items())
    gpus = ", ".join(where["hardware"]["gpus"]) or "no GPU"
    return (
        f"ceilings: {told}\n{where['cpu']}, {where['hardware']['cpus']} cores, {gpus}; "
        f"load {where['load_before']} before, {where.get('load_after', ())} after\n{versions}"
    )
