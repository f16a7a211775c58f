"""Overhead of studies around the training, and how their wall time grows."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.speed.bench import Bench, tile
from benchmarks.speed.harness import Gate, Row, interleaved, measured, rounds
from benchmarks.speed.studies import OurStudy, all_done, run_ours, search_alone, settings_of
from study.cluster.local_ray import local_ray
from study.preflight.prepare import prepare_new
from study.search.searcher import keep_place
from study.trials.worker import Reporter
from tests.support.studies.builders import make_epoch
from tl_core.inputs.features import load_features


def no_op(drawn: dict[str, Any], context: Any) -> None:
    """A trial without work: it reports one epoch of made-up numbers from a Ray worker."""
    keep_place(drawn, None)
    Reporter("val_log_loss").epoch(make_epoch())


def orchestration(bench: Bench) -> Iterator[Row]:
    """Milliseconds a trial that does nothing, one after another in a running study."""
    trials, studies = bench.pick(64, 8), []
    changes: dict[str, Any] = {"gpus": bench.gpus, "epochs": 1, "mode": ("finetune",)}
    with local_ray(bench.gpus):  # One for all repeats: its start is not measured.
        for _ in range(bench.repeats):
            prepared = prepare_new(settings_of(bench, bench.cache, trials, **changes))
            studies.append(search_alone(prepared, no_op))
    # From the first end, so without the start of the first workers.
    each = [1000 * (s.ends[-1] - s.ends[0]) / (trials - 1) for s in studies]
    gate = all_done(studies)
    first = [round(s.ends[0] - s.start, 2) for s in studies]
    details: dict[str, Any] = {"trials": trials, "first_trial_s": first}
    what = "cost of a no-op trial: suggest, place, report, save, without MLflow"
    limit: dict[str, Any] = {"unit": "ms", "direction": "at most", "details": details}
    yield measured("orchestration", what, each, gate, **limit)


def tracking_study(bench: Bench) -> Iterator[Row]:
    """Wall time of a whole frozen study, its pass of the backbone included."""
    trials, studies = bench.pick(64, 8), list[OurStudy]()

    def run(silent: bool) -> float:
        cache = bench.without_features()
        studies.append(run_ours(settings_of(bench, cache, trials, offline=silent)))
        return studies[-1].wall_s

    bench.log(f"{len(bench.images.labels)} images")  # Decoded before the clock starts.
    silent, tracked = partial(run, True), partial(run, False)
    pairs = interleaved(silent, tracked, bench.repeats, bench.log, warm_up=not bench.quick)
    gate = all_done(studies)
    what = f"wall time of a frozen study of {trials} trials with MLflow against without"
    values = [tracked / silent for silent, tracked in pairs]
    details = {
        "images": len(bench.images.labels),
        "silent_s": [round(silent, 2) for silent, _ in pairs],
        "tracked_s": [round(tracked, 2) for _, tracked in pairs],
    }
    limit: dict[str, Any] = {"target": 1.05, "direction": "at most", "details": details}
    yield measured("tracking-study", what, values, gate, **limit)


def trials_growth(bench: Bench) -> Iterator[Row]:
    """From 16 to 256 trials on cached features."""
    sizes: tuple[int, ...] = bench.pick((16, 64, 256), (4, 16))
    studies: list[OurStudy] = []

    def study(trials: int) -> float:
        studies.append(run_ours(settings_of(bench, bench.cache, trials)))
        return studies[-1].wall_s

    load_features(bench.images, bench.backbone, bench.cache, bench.device)
    found = rounds({str(n): partial(study, n) for n in sizes}, bench.repeats, bench.log)
    # Without Ray's start, which hides the cost of one more trial.
    turns = [studies[i : i + len(sizes)] for i in range(0, len(studies), len(sizes))]
    gate = all_done(studies)
    yield _growth("trials-growth", "trials", sizes, found, gate, trials=sizes[-1])
    searching = [{str(len(s.records)): s.searching_s for s in turn} for turn in turns]
    yield _growth("trials-growth-running", "trials", sizes, searching, gate)


def images_growth(bench: Bench) -> Iterator[Row]:
    """From 600 to 9,600 images, each study with its pass of the backbone."""
    times: tuple[int, ...]
    times, trials = bench.pick((1, 4, 16), (1, 4)), bench.pick(16, 4)
    home = bench.fresh("tiled")
    sets = {k: tile(bench.images, k, home / f"tiled-{k}") for k in times}
    studies: list[OurStudy] = []

    def study(k: int) -> float:
        cache = bench.without_features(home)
        given = settings_of(bench, cache, trials)
        images = replace(sets[k], path=cache / "images" / sets[k].key)
        studies.append(run_ours(given, {"images": images}))
        shutil.rmtree(cache)
        return studies[-1].wall_s

    found = rounds({str(k): partial(study, k) for k in times}, bench.repeats, bench.log)
    images = {str(k): len(sets[k].labels) for k in times}
    yield _growth("images-growth", "images", times, found, all_done(studies), images=images)


def _growth(
    name: str,
    of_what: str,
    sizes: tuple[int, ...],
    found: list[dict[str, float]],
    gate: Gate,
    **details: object,
) -> Row:
    linear = sizes[-1] / sizes[0]
    grown = [each[str(sizes[-1])] / each[str(sizes[0])] for each in found]
    exponents = [round(math.log(g) / math.log(linear), 3) for g in grown]
    what = f"wall time of a frozen study with {linear:g} times the {of_what}"
    walls = {str(n): [round(each[str(n)], 2) for each in found] for n in sizes}
    details = {"wall_s": walls, "exponent": exponents} | details
    return measured(name, what, grown, gate, target=linear, direction="at most", details=details)
