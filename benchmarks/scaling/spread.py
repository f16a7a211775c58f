"""How busy a study keeps its slots: timed trials over logical GPUs, by the study's search.

A logical GPU is a number in Ray's books. A trial that sleeps on one costs next to nothing,
so what is measured is what Ray, the search and the journal leave idle; the clock starts when every
worker is up.
"""

import json
import os
import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import ray

from benchmarks.scaling.base import Row, Tables, figures, meet, scratch
from benchmarks.scaling.logical_study import run_logical
from benchmarks.scaling.noop import made_up
from study.execution.worker import Reporter
from tests.support.studies.counting_journal import CountingJournal

_SPANS = "TL_STUDY_TIMED_FOLDER"
"""Environment variable, which Ray's workers inherit: a folder for the spans of trials."""
_TRIAL_S = "TL_STUDY_TIMED_S"
_WORKERS = "TL_STUDY_TIMED_WORKERS"

SPREADS = ((1, False), (2, False), (2, True))
"""Trials that share a GPU, and whether frozen trials run beside them."""
SLOTS = (1, 2, 4, 8, 16)
TRIALS, TRIAL_S = 64, 5.0


@dataclass(frozen=True)
class Span:
    """When a trial ran, by the clock that all processes share, and on which GPUs."""

    mode: str
    gpus: tuple[int, ...]
    start: float
    end: float


def measure(slots: tuple[int, ...] = SLOTS) -> Tables:
    """Utilisation of four GPUs, and how the rate grows with the slots."""
    spread = [_spread_row_of(*case) for case in SPREADS]
    growth = [_growth_row(run_timed(n, 1, False, 4 * n, 2.0), n, 2.0) for n in slots]
    return {"64 timed trials over 4 GPUs": spread, "trials of 2 s by slots": growth}


def _spread_row_of(trials_per_gpu: int, frozen: bool) -> Row:
    trials = TRIALS * (2 if frozen else 1)  # Half of those with frozen ones are for the GPUs.
    return spread_row(run_timed(4, trials_per_gpu, frozen, trials), trials_per_gpu, frozen)


def run_timed(
    gpus: int, trials_per_gpu: int, frozen: bool, trials: int, trial_s: float = TRIAL_S
) -> list[Span]:
    """Run a study of timed trials; all of them must end well."""
    with scratch() as folder:
        (spans := folder / "spans").mkdir()
        (folder / "meeting").mkdir()
        slots = gpus * trials_per_gpu
        given = {
            "mode": ("finetune", "freeze") if frozen else ("finetune",),
            "trials": trials,
            "epochs": 1,
            "trials_per_gpu": trials_per_gpu,
            "design": "cells",
        }
        told = {_SPANS: folder / "spans", _TRIAL_S: trial_s, _WORKERS: slots}
        journal = CountingJournal()
        run_logical(given, gpus, folder, journal, timed, told)
        found = [Span(**json.loads(file.read_text())) for file in spans.iterdir()]
    ended = sum(r.status == "done" for r in journal.records if r.kind == "search")
    if not ended == len(found) == trials:
        raise RuntimeError(f"{ended} of {trials} trials ended well, {len(found)} ran")
    return found


def timed(drawn: dict[str, Any], context: Any) -> None:
    """Sleep as long as a trial is to last, and leave a note of it."""
    folder = Path(os.environ[_SPANS])
    if drawn["mode"] != "freeze":  # Frozen trials need none of the workers that are waited for.
        meet(folder.parent / "meeting", int(os.environ[_WORKERS]))
    start = time.monotonic()
    time.sleep(float(os.environ[_TRIAL_S]) * (1.0 if drawn["mode"] != "freeze" else 0.1))
    gpus = [int(gpu) for gpu in ray.get_gpu_ids()]
    span = {"mode": drawn["mode"], "gpus": gpus, "start": start, "end": time.monotonic()}
    if drawn["kind"] == "search":
        (folder / str(drawn["trial"])).write_text(json.dumps(span))
    Reporter(context.metric, every_s=0).epoch(made_up(1, drawn["train_ratio"]))


def spread_row(spans: list[Span], trials_per_gpu: int, frozen: bool) -> Row:
    """What the spans of trials on four GPUs tell."""
    learning, frozen_ones = ([s for s in spans if (s.mode == "freeze") is f] for f in (False, True))
    shares = [most_at_once([s for s in learning if gpu in s.gpus]) for gpu in range(4)]
    return {
        "trials_per_gpu": trials_per_gpu,
        "frozen_beside": str(frozen),
        "trials_on_gpus": len(learning),
        "utilisation": figures(utilisation(learning, 4 * trials_per_gpu)),
        "most_on_one_gpu": max(shares),
        "gpus_a_trial": max(len(s.gpus) for s in learning),
        "gpus_a_frozen_trial": max((len(s.gpus) for s in frozen_ones), default=0),
    }


def _growth_row(spans: list[Span], slots: int, trial_s: float) -> Row:
    wall_s = _wall_s(spans)
    idle = slots * wall_s / len(spans) - trial_s
    return {
        "slots": slots,
        "trials": len(spans),
        "trials_per_s": figures(len(spans) / wall_s),
        "efficiency": figures(utilisation(spans, slots)),
        "idle_ms_a_trial": figures(1000 * idle),
    }


def utilisation(spans: list[Span], slots: int) -> float:
    """Seconds of all trials over those of all slots, from the first start to the last end."""
    return sum(s.end - s.start for s in spans) / (slots * _wall_s(spans))


def _wall_s(spans: list[Span]) -> float:
    return max(s.end for s in spans) - min(s.start for s in spans)


def most_at_once(spans: list[Span]) -> int:
    """How many of the trials ran at the same time at most."""
    changes = sorted([(s.start, 1) for s in spans] + [(s.end, -1) for s in spans])
    return max(accumulate(change for _, change in changes), default=0)
