"""How busy a study keeps its slots: timed trials over logical GPUs, by the study's search.

A logical GPU is a number in Ray's books. A trial that sleeps on one costs next to nothing, so the
idle time is that of Ray, the search and the journal; the clock starts when every worker is up.
"""

import itertools
import json
import os
import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import ray
from ray.tune import report

from benchmarks.common import Row, Tables, figures, scratch
from benchmarks.scaling.driver import SLEEP_S, WORKERS, meet, run_logical
from study.diagnosis.measure_sweep import made_up
from study.search.sampler import Suggestions
from study.search.searcher import keep_place
from study.trials.sweep import Swept
from study.trials.trial_context import TrialContext
from study.trials.worker import Reporter
from tests.support.studies.builders import make_epoch, make_settings, plain_shape
from tests.support.studies.counting_journal import CountingJournal
from tl_core.config import TrialConfig
from tl_core.inputs.features import feature_entry
from tl_core.training.setup import load_for

_SPANS = "TL_STUDY_BENCHMARK_SPANS"
"""Environment variable, which Ray's workers inherit: a folder for the spans of trials."""
SPREADS = ((1, False), (2, False), (2, True))
"""Trials that share a GPU, and whether the driver sweeps frozen trials meanwhile."""
_FROZEN = plain_shape(600, 2, 1280)
"""The data of those."""
SLOTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Span:
    """When a trial ran, by the clock that all processes share, and on which GPUs."""

    gpus: tuple[int, ...]
    start: float
    end: float


def measure(quick: bool) -> Tables:
    """Utilisation of four GPUs, and how the rate grows with the slots."""
    gpus, trials, trial_s = (2, 8, 1.0) if quick else (4, 64, 5.0)
    spread = []
    for trials_per_gpu, frozen in SPREADS[-1:] if quick else SPREADS:
        spans, swept = run_timed(gpus, trials_per_gpu, frozen, trials, trial_s)
        spread.append(spread_row(spans, gpus, trials_per_gpu, swept))
    tables = {f"{trials} timed trials over {gpus} GPUs": spread}
    if quick:
        return tables
    growth = [_growth_row(run_timed(n, 1, False, 4 * n, 2.0)[0], n, 2.0) for n in SLOTS]
    return tables | {"trials of 2 s by slots": growth}


def run_timed(
    gpus: int, trials_per_gpu: int, frozen: bool, trials: int, trial_s: float
) -> tuple[list[Span], int]:
    """Run a study of so many timed trials, with frozen ones among them or not.

    Returns the spans of the timed ones, and the number of the frozen ones. Raises `RuntimeError`
    unless all end well.
    """
    with scratch() as folder:
        (spans := folder / "spans").mkdir()
        given: dict[str, Any] = {
            "data": "photos",
            "mode": ("finetune", "freeze") if frozen else ("finetune",),
            "trials": 2 * trials if frozen else trials,
            "epochs": 1,
            "trials_per_gpu": trials_per_gpu,
            "backbone": "efficientnet_lite0",
            "image_size": 128,
            # Drawn among each other.
            "design": "joint",
            "sampler": "random",
        }
        given |= {"seed": _seed_of_halves(given)} if frozen else {}
        features = _make_features(folder) if frozen else None
        variables = {_SPANS: spans, SLEEP_S: trial_s, WORKERS: gpus * trials_per_gpu}
        journal = CountingJournal()
        run_logical(given, gpus, folder, journal, timed, variables, features)
        found = [Span(**json.loads(file.read_text())) for file in spans.iterdir()]
    searched = [r for r in journal.records if r.kind == "search"]
    swept = sum(r.config.mode == "freeze" for r in searched)
    ended = sum(r.status == "done" for r in searched)
    if ended != given["trials"] or len(found) + swept != ended:
        raise RuntimeError(f"{ended} of {given['trials']} trials ended well, {len(found)} ran")
    return found, swept


def _seed_of_halves(given: dict[str, Any]) -> int:
    """The first seed whose draws are networks and frozen trials in equal numbers."""

    def frozen(seed: int) -> int:
        search = Suggestions(make_settings(**given | {"seed": seed}))
        return sum(search.ask()[1].mode == "freeze" for _ in range(given["trials"]))

    return next(seed for seed in itertools.count() if 2 * frozen(seed) == given["trials"])


def _make_features(cache: Path) -> str:
    """Make features for the frozen trials; return their name in the cache."""
    config = TrialConfig(
        mode="freeze", train_ratio=0.1, lr=1e-3, backbone="efficientnet_lite0", image_size=128
    )
    images = made_up(config, _FROZEN, cache).images
    return feature_entry(images.key, load_for(config), Path()).as_posix()


def timed(drawn: dict[str, Any], context: TrialContext) -> None:
    """Sleep for the length of a trial, and write its span to a file."""
    keep_place(drawn, None)
    if drawn["mode"] == "freeze":  # The winner once more, whose span is no trial of the search.
        report({"epoch": 1, "swept": [Swept(drawn["trial"], (make_epoch(),)).plain()]})
        return
    meet()
    start = time.monotonic()
    time.sleep(float(os.environ[SLEEP_S]))
    gpus = [int(gpu) for gpu in ray.get_gpu_ids()]
    span = {"gpus": gpus, "start": start, "end": time.monotonic()}
    if drawn["kind"] == "search":
        (Path(os.environ[_SPANS]) / str(drawn["trial"])).write_text(json.dumps(span))
    Reporter(context.metric).epoch(make_epoch())


def spread_row(spans: list[Span], gpus: int, trials_per_gpu: int, swept: int) -> Row:
    """How the trials were spread over the GPUs, while so many frozen ones were swept."""
    shares = [most_at_once([s for s in spans if gpu in s.gpus]) for gpu in range(gpus)]
    return {
        "trials_per_gpu": trials_per_gpu,
        "trials_on_gpus": len(spans),
        "swept_meanwhile": swept,
        "utilisation": figures(utilisation(spans, gpus * trials_per_gpu)),
        "most_on_one_gpu": max(shares),
        "gpus_a_trial": max(len(s.gpus) for s in spans),
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
