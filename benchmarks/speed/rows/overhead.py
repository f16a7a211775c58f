"""What the machinery costs around the training: Ray Tune and Optuna, and MLflow."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import Row, all_of, interleaved, measured
from benchmarks.speed.studies.our_study import (
    OurStudy,
    Watch,
    all_done,
    run_ours,
    search_alone,
    settings_of,
)
from study.preflight.prepare import Prepared, prepare_new
from study.tracking.sender import NullSender, ProcessSender, Sender
from tl_core.config import EpochMetrics
from tl_core.training.features import load_features


def no_op(drawn: dict[str, Any], context: Any) -> None:
    """Stand for a trial of no work: one epoch of made-up numbers, in a Ray worker."""
    from study.execution.worker import Reporter

    metrics = EpochMetrics(1, 0.7, 0.5, 0.7, 0.7, 0.5, 0.5, 0.1, 0.0, 1.0)
    Reporter("val_log_loss", every_s=0).epoch(metrics)


def orchestration(bench: Bench) -> Iterator[Row]:
    """Milliseconds a trial that does nothing, one after another in a study that runs."""
    trials, watches = bench.pick(64, 8), []
    with _ray(bench):
        for _ in range(bench.repeats):
            watches.append(search_alone(_prepare(bench, trials, epochs=1), NullSender(""), no_op))
    each = [1000 * w.trial_s for w in watches]
    gate = all_of([all_done(w.records, trials) for w in watches])
    yield measured(
        "orchestration",
        "cost of a no-op trial: suggest, place, report, save, without MLflow",
        each,
        gate,
        unit="ms",
        direction="at most",
        details={
            "trials": trials,
            "first_trial_s": [round(w.ends[0] - w.first, 2) for w in watches],
        },
    )


def tracking_share(bench: Bench) -> Iterator[Row]:
    """How much of a frozen study's search goes to MLflow."""
    trials, watches = bench.pick(64, 8), list[Watch]()

    def run(silent: bool) -> float:
        prepared = _prepare(bench, trials)
        sender: Sender = (NullSender if silent else ProcessSender)(prepared.settings.tracking_uri)
        sender.wait_for_store()
        watch = search_alone(prepared, sender)
        watches.append(watch)
        # MLflow is told by a process of its own: what counts is when all is told.
        return (watch.closed - watch.ends[0]) / (trials - 1)

    with _ray(bench):
        pairs = _pairs(bench, run)
    gates = [all_done(w.records, trials) for w in watches]
    yield measured(
        "tracking-share",
        "share of a frozen study's search that MLflow takes (SQLite)",
        [1 - silent / tracked for silent, tracked in pairs],
        all_of(gates),
        unit="of 1",
        direction="at most",
        details={
            "trials": trials,
            "silent_ms_a_trial": [round(1000 * silent, 1) for silent, _ in pairs],
            "tracked_ms_a_trial": [round(1000 * tracked, 1) for _, tracked in pairs],
        },
    )


def tracking_study(bench: Bench) -> Iterator[Row]:
    """Wall time of a whole frozen study, its pass of the backbone included."""
    trials, studies = bench.pick(64, 8), list[OurStudy]()

    def run(silent: bool) -> float:
        cache = bench.without_features()
        studies.append(run_ours(settings_of(bench, cache, trials, offline=silent)))
        return studies[-1].wall_s

    bench.tell(f"{len(bench.images.labels)} images")  # Decoded before the clock starts.
    pairs = _pairs(bench, run)
    what = f"wall time of a frozen study of {trials} trials with MLflow against without"
    gate = all_of([all_done(s.records, trials) for s in studies])
    values = [tracked / silent for silent, tracked in pairs]
    told = {
        "images": len(bench.images.labels),
        "silent_s": [round(silent, 2) for silent, _ in pairs],
        "tracked_s": [round(tracked, 2) for _, tracked in pairs],
    }
    limit: dict[str, Any] = {"target": 1.05, "direction": "at most", "details": told}
    yield measured("tracking-study", what, values, gate, **limit)


def _pairs(bench: Bench, run: Callable[[bool], float]) -> list[tuple[float, float]]:
    """Seconds (silent, tracked), over and over."""
    silent, tracked = partial(run, True), partial(run, False)
    return interleaved(silent, tracked, bench.repeats, bench.tell, warm_up=not bench.quick)


def _ray(bench: Bench) -> AbstractContextManager[None]:
    """One Ray for all repeats: its start is no part of these rows."""
    from study.cluster.local_ray import local_ray

    return local_ray(_gpus(bench))


def _gpus(bench: Bench) -> int:
    return 1 if bench.device.type == "cuda" else 0


def _prepare(bench: Bench, trials: int, **changes: Any) -> Prepared:
    prepared = prepare_new(settings_of(bench, bench.cache, trials, gpus=_gpus(bench), **changes))
    load_features(prepared.images, bench.backbone, bench.cache, bench.device)
    return prepared
