"""Our study against the naive one, on the very same configurations."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import Gate, Row, agree, all_of, measured, rounds
from benchmarks.speed.studies.naive_study import NaiveStudy, run_naive_study
from benchmarks.speed.studies.our_study import OurStudy, run_ours, settings_of
from study.cluster.resources import usable_cpus
from study.records.trial_record import TrialRecord
from tl_core.config import EpochMetrics, Mode
from tl_core.data.splits import make_split

_LOG_LOSS = 1e-3
"""How far the validation log loss of a frozen trial may lie from the naive one, nats."""
_LOSS_SHARE = 0.02
"""How far the first epoch's training loss may, where the whole network learns in bf16."""
_IMAGES = 3
"""How many validation images may be judged differently there."""


def frozen_study(bench: Bench) -> Iterator[Row]:
    """Trials an hour, freeze: ours from empty caches, with everything that starts."""
    # Whole waves on every core, so that the naive side, too, has the whole machine.
    waves = 2 * usable_cpus()
    trials = bench.pick(max(64, waves), max(8, waves))
    pair = _Pair(bench, "freeze", trials, naive_trials=bench.pick(waves, 2))
    yield from pair.rows("frozen-study", 200)


def finetune_study(bench: Bench) -> Iterator[Row]:
    """Trials an hour, finetune."""
    pair = _Pair(bench, "finetune", trials=bench.pick(4, 2), naive_trials=bench.pick(4, 2))
    yield from pair.rows("finetune-study", None)


class _Pair:
    """Ours and then the naive one on what ours chose, over and over."""

    def __init__(self, bench: Bench, mode: Mode, trials: int, naive_trials: int) -> None:
        self._bench, self._mode, self._trials = bench, mode, trials
        self._naive_trials = naive_trials
        self._gpus = 1 if bench.device.type == "cuda" else 0
        self._ours: list[OurStudy] = []
        self._naive: list[NaiveStudy] = []

    def rows(self, name: str, target: float | None) -> Iterator[Row]:
        runs = {"ours": self._run_ours, "naive": self._run_naive}
        # No warm-up: processes and caches are new each time, as they are for a user.
        rounds(runs, self._bench.repeats, self._bench.tell)
        gate = self._gate()
        n, pairs = self._trials, list(zip(self._naive, self._ours, strict=True))
        whole = [a.wall_s(n) / b.wall_s for a, b in pairs]
        alone = [a.fit_s / len(a.histories) * n / b.searching_s for a, b in pairs]
        what = f"trials an hour against a naive Ray Tune study, {self._mode}"
        told = self._details()
        yield measured(name, what, whole, gate, target=target, details=told)
        what = f"the same without what starts and stops, {self._mode}"
        yield measured(f"{name}-running", what, alone, gate)

    def _run_ours(self) -> float:
        # New caches each time: decoding and the features are part of what a study costs.
        cache = self._bench.fresh("cache-of-ours")
        changes = {"mode": (self._mode,), "gpus": self._gpus} | self._own_settings()
        self._ours.append(run_ours(settings_of(self._bench, cache, self._trials, **changes)))
        return self._ours[-1].wall_s

    def _own_settings(self) -> dict[str, Any]:
        if self._mode == "freeze":
            # Features in bf16 are other features: only in float32 do both sides train the same
            # heads on the same numbers, to the last digits.
            return {"seeds": 1, "precision": "fp32"}
        # Above, a trial is chaos: rounding decides where it goes, and nothing can be compared.
        return {"epochs": self._bench.pick(2, 1), "lr": (1e-5, 3e-4)}

    def _run_naive(self) -> float:
        # As many epochs as ours ran: it may have stopped a trial early.
        configs = [
            r.config.model_copy(update={"epochs": len(r.history)}) for r in self._compared(-1)
        ]
        folder = self._bench.fresh("naive")
        self._naive.append(run_naive_study(configs, self._bench.folder, folder, self._gpus))
        return self._naive[-1].wall_s(self._trials)

    def _compared(self, number: int) -> list[TrialRecord]:
        """The trials of one of our studies that the naive one ran as well."""
        return self._ours[number].records[: self._naive_trials]

    def _gate(self) -> Gate:
        checks = [
            gate
            for number, study in enumerate(self._naive)
            for record, history in zip(self._compared(number), study.histories, strict=True)
            for gate in self._same(record, history)
        ]
        held = all_of(checks)
        return Gate(held.ok, f"{len(checks)} comparisons: {held.text}"[:600])

    def _same(self, record: TrialRecord, naive: Sequence[EpochMetrics]) -> list[Gate]:
        trial, ours = f"trial {record.trial}", record.history
        if len(ours) != len(naive):
            return [Gate(False, f"{trial}: {len(ours)} epochs against {len(naive)}")]
        if self._mode == "freeze":
            a, b = ours[-1].val_log_loss, naive[-1].val_log_loss
            return [agree(f"{trial} val_log_loss", a, b, _LOG_LOSS)]
        labels = self._bench.images.labels
        n_val = len(make_split(labels, record.config.train_ratio).val)
        return finetune_gates(trial, ours, naive, n_val)

    def _details(self) -> dict[str, Any]:
        n, first = self._trials, self._compared(0)[0].config
        return {
            "trials": n,
            "naive_trials_measured": self._naive_trials,
            "naive_is": "start-up once, and the mean cost of its measured trials times all "
            "trials; that cost has the start of the trial's process in it",
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
    what: str, ours: Sequence[EpochMetrics], naive: Sequence[EpochMetrics], n_val: int
) -> list[Gate]:
    """Compare a trial in which the whole network learns: bf16 is no float32, but close."""
    a, b = ours[0].train_loss, naive[0].train_loss
    images = abs(ours[0].val_accuracy - naive[0].val_accuracy) * n_val
    return [
        agree(f"{what} first training loss", a, b, _LOSS_SHARE * abs(b)),
        Gate(
            images <= _IMAGES + 1e-6,
            f"{what} judges {images:.0f} of {n_val} validation images differently in net",
        ),
    ]
