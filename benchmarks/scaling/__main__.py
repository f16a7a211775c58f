"""Where each resource saturates: `python -m benchmarks.scaling [PART ...] [--out scaling.json]`.

The parts run one after another, each in minutes on two CPU cores; `docs/scaling.md` reads their
figures. Everything is written below temporary folders, and every server listens on 127.0.0.1.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.scaling.base import Row, Tables
from benchmarks.scaling.budget import NEEDS, budget
from study.cluster.ray_environment import set_ray_environment
from study.cluster.resources import hardware

PARTS = {
    "search": "ask and tell of each sampler, and taking a search up again",
    "driver": "what a trial costs the driver",
    "spread": "how busy a study keeps its slots",
    "journal": "what a study's own files and display cost the driver",
    "tracking": "what a trial costs the MLflow store",
    "disk": "decoded images and features on disk, and reading them",
    "memory": "training from more data than memory",
    "store": "what goes through Ray's object store",
}
_VERSIONS = ("torch", "ray", "optuna", "mlflow", "numpy", "pillow")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts, print their tables, and write them to a file if asked."""
    parser = _parser()
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.parts) - set(PARTS)):
        parser.error(f"unknown part {' '.join(unknown)}; must be of {', '.join(PARTS)}")
    set_ray_environment()  # Before any part imports Ray.
    # A file or pipe has no width of its own, and rich would squeeze the tables into 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 180)
    report: dict[str, Any] = _merge_into(args.out)
    for part in args.parts or PARTS:
        found = measure(part)
        report[part] = found
        for title, rows in found["tables"].items():
            console.print(table(f"{part}: {title}", rows))
        if set(NEEDS) <= set(report):
            report["budget"] = {"about": budget.__doc__, "tables": budget(report)}
        if args.out:
            args.out.write_text(json.dumps(report, indent=2) + "\n")


def measure(part: str) -> dict[str, Any]:
    """The tables of one part, with when, on what and beside what load they were measured."""
    before, start = os.getloadavg()[0], time.perf_counter()
    # Imported by name, since a part that needs no Ray should not wait for it.
    tables: Tables = importlib.import_module(f"benchmarks.scaling.{part}").measure()
    return {
        "about": PARTS[part],
        "date": time.strftime("%Y-%m-%d"),
        "load_before": before,
        "took_s": round(time.perf_counter() - start),
        "hardware": hardware(),
        "versions": {name: version(name) for name in _VERSIONS},
        "tables": tables,
    }


def table(title: str, rows: list[Row]) -> Table:
    """The rows as a table for the terminal."""
    shown = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        shown.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    return shown


def _merge_into(out: Path | None) -> dict[str, Any]:
    """What the file holds of parts that are not measured now."""
    return dict(json.loads(out.read_text())) if out and out.exists() else {}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, help="JSON file; parts already in it are kept")
    return parser


if __name__ == "__main__":
    main()
