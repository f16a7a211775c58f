"""Ours against the naive way: whole studies, and training on one CPU core without Ray."""

import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.bench import RATIO, Bench
from benchmarks.speed.harness import Gate, Row, agree, all_of, interleaved, measured, rounds
from benchmarks.speed.naive import train_naively
from benchmarks.speed.studies import NaiveStudy, OurStudy, run_naive_study, run_ours, settings_of
from study.records.trial_record import TrialRecord
from tl_core.config import EpochMetrics, Mode, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import make_split
from tl_core.device import best_precision
from tl_core.models.article import ARTICLE_RECIPE
from tl_core.runtime import keep_freed_memory, usable_cpus
from tl_core.training.train import run_trial

_LOG_LOSS = 1e-3
"""Allowed difference of a frozen trial's validation log loss from the naive one's, nats."""
_LOSS_SHARE = 0.02
"""Allowed relative difference of the first training loss, where the network learns in bf16."""
_IMAGES = 3
"""Validation images whose class may differ there."""
_CPU = torch.device("cpu")
_TRAINING_IMAGES = 128
"""Training images: about four steps, which are all alike and take a second each on a core."""


def frozen_study(bench: Bench) -> Iterator[Row]:
    """Trials an hour, freeze: ours from empty caches, with everything that starts."""
    # Whole waves on every core, so that the naive side has the whole machine, too.
    waves = 2 * usable_cpus()
    trials = bench.pick(max(64, waves), max(8, waves))
    pair = Pair(bench, "freeze", trials, naive_trials=bench.pick(waves, 2))
    yield from pair.rows("frozen-study", 200)


def finetune_study(bench: Bench) -> Iterator[Row]:
    """Trials an hour, finetune."""
    pair = Pair(bench, "finetune", trials=bench.pick(4, 2), naive_trials=bench.pick(4, 2))
    yield from pair.rows("finetune-study", None)


class Pair:
    """Ours, then the naive study on the configurations that ours chose; repeated."""

    def __init__(self, bench: Bench, mode: Mode, trials: int, naive_trials: int) -> None:
        self._bench, self._mode, self._trials = bench, mode, trials
        self._naive_trials = naive_trials
        self._ours: list[OurStudy] = []
        self._naive: list[NaiveStudy] = []

    def rows(self, name: str, target: float | None) -> Iterator[Row]:
        """Run both; give the row of whole studies, and that without their start and end."""
        runs = {"ours": self._run_ours, "naive": self._run_naive}
        # No warm-up: processes and caches are new each time, as they are for a user.
        rounds(runs, self._bench.repeats, self._bench.log)
        n, pairs = self._trials, list(zip(self._naive, self._ours, strict=True))
        checks = [gate for naive, ours in pairs for gate in self._checks(naive, ours)]
        held = all_of(checks)
        gate = Gate(held.ok, f"{len(checks)} comparisons: {held.text}"[:600])
        whole = [a.wall_s(n) / b.wall_s for a, b in pairs]
        alone = [a.fit_s / len(a.histories) * n / b.searching_s for a, b in pairs]
        what = f"trials an hour against a naive Ray Tune study, {self._mode}"
        yield measured(name, what, whole, gate, target=target, details=self._details())
        what = f"the same without what starts and stops, {self._mode}"
        yield measured(f"{name}-running", what, alone, gate)

    def _run_ours(self) -> float:
        # New caches each time: decoding and the features are part of what a study costs.
        cache = self._bench.fresh("cache-of-ours")
        # The plain loop knows the article's recipe alone.
        changes: dict[str, Any] = {"mode": (self._mode,), "gpus": self._bench.gpus}
        changes |= ARTICLE_RECIPE
        if self._mode == "freeze":
            # Features in bf16 are other features: only in float32 do both sides train the same
            # heads on the same numbers, to the last digits.
            changes |= {"seeds": 1, "precision": "fp32"}
        else:
            # At higher rates rounding decides the result, and nothing can be compared.
            changes |= {"epochs": self._bench.pick(2, 1), "lr": (1e-5, 3e-4)}
            changes |= {"batchnorm": "train", "head_lr_ratio": 1.0}
        self._ours.append(self._run(settings_of(self._bench, cache, self._trials, **changes)))
        return self._ours[-1].wall_s

    def _run(self, given: dict[str, Any]) -> OurStudy:
        return run_ours(given)

    def _run_naive(self) -> float:
        # As many epochs as ours ran, which may have stopped a trial early.
        configs = [
            r.config.model_copy(update={"epochs": len(r.history)})
            for r in self._compared(self._ours[-1])
        ]
        folder = self._bench.fresh("naive")
        naive = run_naive_study(configs, self._bench.folder, folder, self._bench.gpus)
        self._naive.append(naive)
        return naive.wall_s(self._trials)

    def _compared(self, ours: OurStudy) -> list[TrialRecord]:
        """The trials of our study that the naive one runs as well."""
        return ours.records[: self._naive_trials]

    def _checks(self, naive_study: NaiveStudy, our_study: OurStudy) -> Iterator[Gate]:
        compared = self._compared(our_study)
        for record, naive in zip(compared, naive_study.histories, strict=True):
            trial, ours = f"trial {record.trial}", record.history
            if len(ours) != len(naive):
                yield Gate(False, f"{trial}: {len(ours)} epochs against {len(naive)}")
            elif self._mode == "freeze":
                a, b = ours[-1].val_log_loss, naive[-1].val_log_loss
                yield agree(f"{trial} val_log_loss", a, b, _LOG_LOSS)
            else:
                labels = self._bench.images.labels
                n_val = len(make_split(labels, record.config.train_ratio).val)
                yield from finetune_gates(trial, ours[0], naive[0], n_val)

    def _details(self) -> dict[str, Any]:
        n, first = self._trials, self._compared(self._ours[0])[0].config
        return {
            "trials": n,
            "naive_trials_measured": self._naive_trials,
            "naive_is": "start-up once, and its measured trials' mean cost times all trials",
            "train_ratio": first.train_ratio,
            "epochs": first.epochs,
            "precision": first.precision,
            "images": len(self._bench.images.labels),
            "image_size": self._bench.image_size,
            "ours_wall_s": [round(o.wall_s, 2) for o in self._ours],
            "ours_searching_s": [round(o.searching_s, 2) for o in self._ours],
            "naive_start_s": [round(s.start_s, 2) for s in self._naive],
            "naive_s_a_trial": [round(s.fit_s / len(s.histories), 2) for s in self._naive],
            "ours_trials_an_hour": 3600 * n / statistics.median(o.wall_s for o in self._ours),
            "naive_trials_an_hour": 3600 * n / statistics.median(s.wall_s(n) for s in self._naive),
        }


def finetune_gates(
    what: str, ours: EpochMetrics, naive: EpochMetrics, n_val: int
) -> Sequence[Gate]:
    """Compare the first epoch of a whole network: bf16 is close to float32, not equal."""
    a, b = ours.train_loss, naive.train_loss
    images = abs(ours.val_accuracy - naive.val_accuracy) * n_val
    return (
        agree(f"{what} first training loss", a, b, _LOSS_SHARE * abs(b)),
        agree(f"{what} validation images classified differently", images, 0, _IMAGES + 1e-6),
    )


def cpu_training(bench: Bench) -> Iterator[Row]:
    """Training images/s of the whole network, against the plain loop, one thread each."""
    config, epochs = _config(bench), dict[str, EpochMetrics]()
    bench.images  # noqa: B018 - decoded before the clock runs
    with _one_process() as naive_side, _one_process() as our_side:

        def naive() -> float:
            done = naive_side.submit(_train_naively, config, bench.folder)
            epochs["naive"] = done.result()
            return 1 / epochs["naive"].images_per_s

        def ours() -> float:
            done = our_side.submit(_train_ours, config, bench.images.path, bench.cache)
            epochs["ours"] = done.result()
            return 1 / epochs["ours"].images_per_s

        warm_up = not bench.quick
        pairs = interleaved(naive, ours, bench.repeats, bench.log, warm_up)
    n_val = len(make_split(bench.images.labels, config.train_ratio).val)
    gate = all_of(finetune_gates("one epoch", epochs["ours"], epochs["naive"], n_val))
    details = {
        "precision": config.precision,
        "naive_images_per_s": [round(1 / a, 2) for a, _ in pairs],
        "ours_images_per_s": [round(1 / b, 2) for _, b in pairs],
        "naive_is": "float32, channels first, files decoded by a DataLoader in every epoch",
    }
    what = "training images/s of the whole network on a CPU against ImageFolder + DataLoader"
    values = [naive / ours for naive, ours in pairs]
    yield measured("cpu-training", what, values, gate, target=2, details=details)


def _config(bench: Bench) -> TrialConfig:
    ratio = min(RATIO, _TRAINING_IMAGES / len(bench.images.labels))
    return bench.config("finetune", epochs=1, precision=best_precision(_CPU), train_ratio=ratio)


def _one_process() -> ProcessPoolExecutor:
    # One for each side: how the C library keeps memory is set for a whole process.
    return ProcessPoolExecutor(1, get_context("spawn"))


def _train_naively(config: TrialConfig, root: Path) -> EpochMetrics:
    torch.set_num_threads(1)
    return train_naively(config, root, _CPU)[0]


def _train_ours(config: TrialConfig, images: Path, cache: Path) -> EpochMetrics:
    torch.set_num_threads(1)
    keep_freed_memory()
    return run_trial(config, ImageSet.open(images), cache, _CPU).history[0]
