"""Frozen trials that are swept: what one more of them costs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.common import seconds
from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import Row, measured, rounds
from benchmarks.speed.studies import OurStudy, all_done, run_ours, settings_of
from study.config.defaults import DEFAULTS
from study.preflight.prepare import prepare_new
from study.search.queue import BATCH
from study.search.sampler import Suggestions
from tl_core.inputs.features import load_features
from tl_core.runtime import one_thread, usable_cpus
from tl_core.training.setup import Inputs
from tl_core.training.sweep import run_sweep


def frozen_trial(bench: Bench) -> Iterator[Row]:
    """What one more frozen trial of eight seeds costs: in a batch, and in a whole study.

    At train ratio 0.1, with the study's default epochs and fewest steps, on cached features. A
    study of 64 trials pays once for what one of 8 does not have: the importances of the factors in
    its report, which import scikit-learn. One of 128 trials pays no more for them.
    """
    few, some, many = bench.pick((8, 64, 128), (2, 4, 6))
    changes: dict[str, Any] = {"train_ratio": (0.1,), "seeds": 8}
    changes |= {"epochs": DEFAULTS["epochs"]} if not bench.quick else {"min_steps": 10}
    studies: list[OurStudy] = []

    def study(trials: int) -> float:
        given = settings_of(bench, bench.cache, trials, offline=True, **changes)
        studies.append(run_ours(given))
        return studies[-1].wall_s

    load_features(bench.images, bench.backbone, bench.cache, bench.device)
    batch = _batch(bench, **changes)
    runs: dict[str, Callable[[], float]] = {
        "few": partial(study, few),
        "some": partial(study, some),
        "many": partial(study, many),
        "batch": batch,
    }
    found = rounds(runs, bench.repeats, bench.log)
    gate = all_done(studies)
    details: dict[str, Any] = {
        "images": len(bench.images.labels),
        "features": bench.backbone.n_features,
    }
    what = f"a frozen trial of 8 seeds in a batch of {BATCH}, on all cores"
    each = [1000 * turn["batch"] / BATCH for turn in found]
    limit: dict[str, Any] = {"unit": "ms", "direction": "at most", "details": details}
    yield measured("frozen-trial-batch", what, each, gate, target=20, **limit)
    names = {"few": few, "some": some, "many": many}
    details |= {"study_s": {n: [round(t[name], 2) for t in found] for name, n in names.items()}}

    def slopes(less: str, more: str) -> tuple[str, list[float]]:
        n = names[more] - names[less]
        what = f"one more such trial in a whole study: {names[more]} trials less {names[less]}"
        return what, [1000 * (turn[more] - turn[less]) / n for turn in found]

    yield measured("frozen-trial-study", *slopes("some", "many"), gate, target=20, **limit)
    yield measured("frozen-trial-first", *slopes("few", "some"), gate, **limit)


def _batch(bench: Bench, **changes: Any) -> Callable[[], float]:
    """Returns what sweeps a batch as the driver does, and how long that took."""
    settings = prepare_new(settings_of(bench, bench.cache, BATCH, **changes)).settings
    configs = [Suggestions(settings).ask()[1]] * BATCH
    inputs = Inputs(bench.images, bench.cache, torch.device("cpu"), False, usable_cpus())

    def sweep() -> float:
        with one_thread():
            return seconds(lambda: run_sweep(configs, inputs))

    return sweep
