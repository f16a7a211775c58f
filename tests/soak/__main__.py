"""A long study under injected faults: `python -m tests.soak [--trials 500] [--seed 0]`.

Workers, drivers and MLflow's server are killed and restarted on a seeded schedule. At the end
ledger, trials.csv and MLflow must agree trial by trial, and the memory of driver, workers and
sender must not grow with the trials; otherwise the exit code is 1. All files go to a temporary
folder, and every server listens on 127.0.0.1. Needs Linux's /proc.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from rich import box
from rich.console import Console
from rich.table import Table

from study.records.ledger import read_events, read_state
from study.records.study_folder import LEDGER
from tests.soak.check import check, read_runs
from tests.soak.faults import KINDS, Fault, inject, schedule
from tests.soak.memory import Growth, Watch, growths
from tests.soak.study import NAME, Follower, SoakStudy
from tests.support.processes import senders, workers
from tl_core.files import replace_file

MARGIN = 0.5
"""Extra time, as a share of the minutes, before the study counts as hanging."""
MOST_MB_PER_100_TRIALS = 20.0
"""Of any process. Ray Tune keeps 0.1 MB of each trial in the driver, and a worker's heap may grow
once by the largest tensor: 13 MB, or 15 over the trials in between."""


@dataclass(frozen=True)
class Injected:
    """A fault that was injected."""

    fault: Fault
    at_s: float
    trials: int
    """Trials that had ended by then."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak, print its table, write its JSON; return the exit code."""
    args = _parser().parse_args(argv)
    home = Path(tempfile.mkdtemp(prefix="tl", dir="/tmp"))  # Short, for Ray's sockets.
    console = Console(width=None if sys.stdout.isatty() else 180)
    try:
        report = soak(home, args.trials, args.seed, args.minutes, args.batch_size, console)
    finally:
        if args.keep:
            console.print(f"kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    if args.out:
        replace_file(args.out, json.dumps(report, indent=2) + "\n")
    show(report, console)
    return 1 if report["wrong"] else 0


def soak(
    home: Path, trials: int, seed: int, minutes: float, batch_size: int, console: Console
) -> dict[str, Any]:
    """Run a study and inject faults; return the report, whose `wrong` lists what went wrong.

    Raises `RuntimeError` or `TimeoutError` when the study fails, hangs or has a wrong exit code.
    """
    load_before, start = os.getloadavg(), time.monotonic()
    study = SoakStudy(home, trials, seed, batch_size)
    study.limit = start + 60 * minutes * (1 + MARGIN)
    try:
        with Watch(lambda: _roles(study), Follower(study.folder / LEDGER).ended) as watch:
            study.begin()
            injected = _inject(study, schedule(trials, seed), start, 60 * minutes, console)
            study.finish()
        took_s = time.monotonic() - start
        synced, left_over = study.synced(), study.left_over()
        wrong = _disagreements(study, trials)
    finally:
        study.close()
    memory = growths(watch.samples)
    wrong += [f"process {i} is left over" for i in left_over] + grown(memory)
    about = read_state(study.folder).about
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": about["versions"],
        "hardware": about["hardware"],
        "load_before": load_before,
        "load_after": os.getloadavg(),
        "trials": trials,
        "seed": seed,
        "minutes": minutes,
        "wall_s": round(took_s),
        "faults": {kind: sum(one.fault.kind == kind for one in injected) for kind in KINDS},
        "faults_left_out": len(schedule(trials, seed)) - len(injected),
        "synced_at_the_end": synced,
        **_ledger_counts(study.folder),
        "wrong": wrong,
        "most_mb_per_100_trials": MOST_MB_PER_100_TRIALS,
        "memory": [asdict(growth) for growth in memory],
        "struck": [asdict(one) for one in injected],
    }


def _inject(
    study: SoakStudy, faults: Sequence[Fault], start: float, most_s: float, console: Console
) -> list[Injected]:
    """Inject as many of the faults as there is time for."""
    injected: list[Injected] = []
    for fault in faults:

        def due(after: int = fault.after) -> bool:
            return study.ended() >= after or time.monotonic() > start + most_s

        study.wait_until(due, f"{fault.after} trials are never reached")
        if time.monotonic() > start + most_s:
            break
        study.training()
        time.sleep(fault.delay_s)
        injected.append(Injected(fault, round(time.monotonic() - start, 1), study.ended()))
        console.print(f"{injected[-1].at_s:7.1f} s, {injected[-1].trials:4d} trials: {fault.kind}")
        inject(fault, study)
    return injected


def _roles(study: SoakStudy) -> dict[str, list[int]]:
    driver = study.driver
    return {
        "driver": [driver] if driver else [],
        "worker": workers(study.home),
        "sender": senders(study.home),
    }


def _disagreements(study: SoakStudy, trials: int) -> list[str]:
    client = MlflowClient(study.store)
    wrong = check(study.folder, trials, read_runs(client, read_state(study.folder).about["id"]))
    versions = client.search_model_versions(f"name = '{NAME}'")
    return wrong if len(versions) == 1 else [*wrong, f"{len(versions)} models instead of one"]


def grown(memory: Sequence[Growth], most: float = MOST_MB_PER_100_TRIALS) -> list[str]:
    """Processes whose memory has grown by more than `most`."""
    return [
        f"memory of the {g.role} grows by {g.mb_per_100_trials} MB in 100 trials, at most {most:g}"
        for g in memory
        if (g.mb_per_100_trials or 0) > most
    ]


def _ledger_counts(folder: Path) -> dict[str, Any]:
    """How the trials ended, by the ledger."""
    events = [event for event, _ in read_events(folder / LEDGER)]
    warned, ends = ([e for e in events if e["event"] == what] for what in ("warning", "end"))
    searched = [r for r in read_state(folder).trials if r.kind == "search"]
    return {
        "statuses": dict(Counter(r.status for r in searched)),
        "ledger_events": len(events),
        "trials_taken_up_by_another_worker": sum(
            "another worker continues" in e["text"] for e in warned
        ),
        "trials_cut_and_resumed": sum(e["status"] == "interrupted" for e in ends),
    }


def show(report: dict[str, Any], console: Console) -> None:
    """Print the figures, and what is wrong."""
    table = Table("what", "figure", title="soak", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("trials", "seed", "wall_s", *_FIGURES):
        table.add_row(name.replace("_", " "), str(report[name]))
    for kind, number in report["faults"].items():
        table.add_row(f"faults: {kind}", str(number))
    for g in report["memory"]:
        grown = g["mb_per_100_trials"]
        sizes = f"{g['early_mb']} to {g['late_mb']} MB over {g['trials']} trials"
        rate = "too short to tell" if grown is None else f"{grown:+} MB in 100 trials"
        table.add_row(f"memory: {g['role']}, the longest of {g['lives']}", f"{sizes}: {rate}")
    console.print(table)
    for line in report["wrong"] or ["ledger, trials.csv and MLflow agree trial by trial"]:
        console.print(line, style="red" if report["wrong"] else "green", highlight=False)


_FIGURES = (
    "faults_left_out",
    "statuses",
    "trials_taken_up_by_another_worker",
    "trials_cut_and_resumed",
    "synced_at_the_end",
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the study and of the schedule")
    parser.add_argument(
        "--minutes", type=float, default=40, help="no fault is injected after these"
    )
    parser.add_argument(
        "--batch-size", type=int, default=8, help="smaller batches make longer trials"
    )
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the study")
    return parser


if __name__ == "__main__":
    # So that a SIGTERM leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
