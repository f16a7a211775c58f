"""Where each resource saturates: `python -m benchmarks.scaling [PART ...] [--out scaling.json]`.

The parts run one after another, each in minutes on two CPU cores; `docs/scaling.md` shows their
figures. All files go to temporary folders, and every server listens on 127.0.0.1.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.common import Row, Tables, environment, figures
from study.cluster.ray_environment import set_ray_environment

PARTS = {
    "search": "ask and tell of each sampler, and resuming a search",
    "driver": "what a trial costs the driver",
    "spread": "how busy a study keeps its slots",
    "journal": "what a study's own files and display cost the driver",
    "tracking": "what a trial costs the MLflow store",
    "disk": "decoded images and features on disk, and reading them",
    "memory": "training from more data than memory",
    "store": "what goes through Ray's object store",
}
_BUDGET_NEEDS = ("search", "driver", "journal", "tracking")
_TRIAL_S = (1, 60, 600)
"""Lengths of trials, for the number of slots that the driver can keep busy with them."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts, print their tables, and write them to a file if asked."""
    parser = argparse.ArgumentParser("python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, help="JSON file; parts already in it are kept")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.parts) - set(PARTS)):
        parser.error(f"unknown part {' '.join(unknown)}; must be of {', '.join(PARTS)}")
    set_ray_environment()  # Before any part imports Ray.
    # A file or pipe has no width, and rich takes 80 columns for it.
    console = Console(width=None if sys.stdout.isatty() else 180)
    known = args.out is not None and args.out.exists()
    report: dict[str, Any] = json.loads(args.out.read_text()) if known else {}
    for part in args.parts or PARTS:
        report[part] = _measure(part, args.quick)
        for title, rows in report[part]["tables"].items():
            console.print(_table(f"{part}: {title}", rows))
        if set(_BUDGET_NEEDS) <= set(report):
            report["budget"] = {"about": _budget.__doc__, "tables": _budget(report)}
        if args.out:
            args.out.write_text(json.dumps(report, indent=2) + "\n")


def _measure(part: str, quick: bool) -> dict[str, Any]:
    """The tables of one part, with date, hardware, versions and load."""
    where, start = environment(), time.perf_counter()
    # Imported here, since a part without Ray need not wait for it.
    tables: Tables = importlib.import_module(f"benchmarks.scaling.{part}").measure(quick)
    return {
        "about": PARTS[part],
        **where,
        "took_s": round(time.perf_counter() - start),
        "tables": tables,
    }


def _table(title: str, rows: list[Row]) -> Table:
    shown = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        shown.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    return shown


def _budget(report: dict[str, Any]) -> Tables:
    """The driver's time a trial, by finished trials, with the study's own sampler and stores.

    One thread does all of it but the tracking, which another process does.
    """
    sizes = [int(row["trials"]) for row in report["journal"]["tables"]["ms in the driver"]]
    rows = [_budget_row(report, n, min(sizes)) for n in sizes]
    return {"ms a trial of 10 epochs, and slots kept busy": rows}


def _budget_row(report: dict[str, Any], n: int, fewest: int) -> Row:
    # The no-op trials of `driver` include the same sampler's time with about `fewest` trials.
    search, search_of_few = (
        float(_row(report, "search", sampler="tpe", finished=m)["trial_ms"]) for m in (n, fewest)
    )
    tracked = _row(report, "tracking", store="sqlite", runs=n if n > fewest else 0)
    parts: Row = {
        "loop_ms": float(_row(report, "driver", slots=4, epochs=10)["driver_cpu_ms"]),
        "more_search_ms": figures(max(0.0, search - search_of_few)),
        "tracking_ms": float(tracked["trial_ms"]),
        "display_ms": float(_row(report, "journal", trials=n)["trial_of_10_epochs_ms"]),
    }
    total = sum(float(value) for name, value in parts.items() if name != "tracking_ms")
    slots: Row = {f"slots_of_{s}_s_trials": int(s * 1000 / total) for s in _TRIAL_S}
    return {"finished": n, **parts, "sum_ms": figures(total), **slots}


def _row(report: dict[str, Any], part: str, **wanted: str | int) -> Row:
    """The first row of a part's tables that has these values."""
    for rows in report[part]["tables"].values():
        for row in rows:
            if all(row.get(name) == value for name, value in wanted.items()):
                return dict(row)
    raise KeyError(f"{part} has no row with {wanted}")


if __name__ == "__main__":
    main()
