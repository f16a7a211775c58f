"""How busy a study keeps its slots: timed trials over logical GPUs, by the study's search.

A logical GPU is a number in Ray's books. A trial that sleeps on one costs next to nothing, so the
idle time is that of Ray, the search and the journal; the clock starts when every worker is up.
"""

import json
import os
import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import ray

from benchmarks.common import Row, Tables, figures, scratch
from benchmarks.scaling.driver import SLEEP_S, WORKERS, meet, run_logical
from study.execution.trial_context import TrialContext
from study.execution.worker import Reporter
from tests.support.studies.builders import make_epoch
from tests.support.studies.counting_journal import CountingJournal

_SPANS = "TL_STUDY_BENCHMARK_SPANS"
"""Environment variable, which Ray's workers inherit: a folder for the spans of trials."""
SPREADS = ((1, False), (2, False), (2, True))
"""Trials that share a GPU, and whether frozen trials run beside them."""
SLOTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Span:
    """When a trial ran, by the clock that all processes share, and on which GPUs."""

    mode: str
    gpus: tuple[int, ...]
    start: float
    end: float


def measure(quick: bool) -> Tables:
    """Utilisation of four GPUs, and how the rate grows with the slots."""
    gpus, trials, trial_s = (2, 8, 1.0) if quick else (4, 64, 5.0)
    spread = []
    for trials_per_gpu, frozen in SPREADS[-1:] if quick else SPREADS:
        n = trials * (2 if frozen else 1)  # Half of those with frozen ones are for the GPUs.
        spans = run_timed(gpus, trials_per_gpu, frozen, n, trial_s)
        spread.append(spread_row(spans, gpus, trials_per_gpu, frozen))
    tables = {f"{trials} timed trials over {gpus} GPUs": spread}
    if quick:
        return tables
    growth = [_growth_row(run_timed(n, 1, False, 4 * n, 2.0), n, 2.0) for n in SLOTS]
    return tables | {"trials of 2 s by slots": growth}


def run_timed(
    gpus: int, trials_per_gpu: int, frozen: bool, trials: int, trial_s: float
) -> list[Span]:
    """Run a study of timed trials. Raises `RuntimeError` unless all end well."""
    with scratch() as folder:
        (spans := folder / "spans").mkdir()
        given = {
            "mode": ("finetune", "freeze") if frozen else ("finetune",),
            "trials": trials,
            "epochs": 1,
            "trials_per_gpu": trials_per_gpu,
            "design": "cells",
        }
        variables = {_SPANS: spans, SLEEP_S: trial_s, WORKERS: gpus * trials_per_gpu}
        journal = CountingJournal()
        run_logical(given, gpus, folder, journal, timed, variables)
        found = [Span(**json.loads(file.read_text())) for file in spans.iterdir()]
    ended = sum(r.status == "done" for r in journal.records if r.kind == "search")
    if not ended == len(found) == trials:
        raise RuntimeError(f"{ended} of {trials} trials ended well, {len(found)} ran")
    return found


def timed(drawn: dict[str, Any], context: TrialContext) -> None:
    """Sleep for the length of a trial, and write its span to a file."""
    learns = drawn["mode"] != "freeze"
    if learns:  # Frozen trials run in other workers than those that meet.
        meet()
    start = time.monotonic()
    time.sleep(float(os.environ[SLEEP_S]) * (1.0 if learns else 0.1))
    gpus = [int(gpu) for gpu in ray.get_gpu_ids()]
    span = {"mode": drawn["mode"], "gpus": gpus, "start": start, "end": time.monotonic()}
    if drawn["kind"] == "search":
        (Path(os.environ[_SPANS]) / str(drawn["trial"])).write_text(json.dumps(span))
    Reporter(context.metric, every_s=0).epoch(make_epoch())


def spread_row(spans: list[Span], gpus: int, trials_per_gpu: int, frozen: bool) -> Row:
    """How the trials were spread over the GPUs."""
    learning, frozen_ones = ([s for s in spans if (s.mode == "freeze") is f] for f in (False, True))
    shares = [most_at_once([s for s in learning if gpu in s.gpus]) for gpu in range(gpus)]
    return {
        "trials_per_gpu": trials_per_gpu,
        "frozen_beside": str(frozen),
        "trials_on_gpus": len(learning),
        "utilisation": figures(utilisation(learning, gpus * trials_per_gpu)),
        "most_on_one_gpu": max(shares),
        "gpus_a_trial": max(len(s.gpus) for s in learning),
        "gpus_a_frozen_trial": max((len(s.gpus) for s in frozen_ones), default=0),
    }


def _growth_row(spans: list[Span], slots: int, trial_s: float) -> Row:
    wall_s = _wall_s(spans)
    return {
        "slots": slots,
        "trials": len(spans),
        "trials_per_s": figures(len(spans) / wall_s),
        "efficiency": figures(utilisation(spans, slots)),
        "idle_ms_a_trial": figures(1000 * (slots * wall_s / len(spans) - trial_s)),
    }


def utilisation(spans: list[Span], slots: int) -> float:
    """Seconds of all trials over those of all slots, from the first start to the last end."""
    return sum(s.end - s.start for s in spans) / (slots * _wall_s(spans))


def _wall_s(spans: list[Span]) -> float:
    return max(s.end for s in spans) - min(s.start for s in spans)


def most_at_once(spans: list[Span]) -> int:
    """The largest number of trials that ran at the same time."""
    changes = sorted([(s.start, 1) for s in spans] + [(s.end, -1) for s in spans])
    return max(accumulate(change for _, change in changes), default=0)
