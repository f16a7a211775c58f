"""Whole studies and whole trials, as a user waits for them."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.common import seconds
from benchmarks.speed.bench import RATIO, Bench
from benchmarks.speed.harness import Row, agree, interleaved, measured, rounds
from benchmarks.speed.rows.study import Pair
from benchmarks.speed.studies import OurStudy, all_done, call, run_command, run_ours, settings_of
from tl_core.config import EpochMetrics, Mode, TrialConfig
from tl_core.data.datasets import load_images
from tl_core.data.sources import folder_source
from tl_core.inputs.features import load_features
from tl_core.inputs.prefix import cut_backbone, load_activations
from tl_core.runtime import keep_freed_memory, one_thread, usable_cpus
from tl_core.training.setup import pretrained
from tl_core.training.train import run_trial

_SIDE = 224
"""Of the images of a backbone's pass, pixels: such a pass is what a user would make at least."""
_SEEDS = 8


def frozen_256(bench: Bench) -> Iterator[Row]:
    """256 frozen configurations of 8 seeds at 224 px, start to report, in passes of the backbone.

    The images are decoded; the study makes the features. A pass is the features of all images, in
    this process with all its threads.
    """
    side, trials = bench.pick(_SIDE, bench.image_size), bench.pick(256, 8)
    images = load_images(folder_source(bench.folder), side, bench.cache)
    backbone = pretrained(bench.backbone_name, "default", side, bench.precision)
    studies: list[OurStudy] = []

    def study() -> float:
        changes: dict[str, Any] = {"image_size": side, "seeds": _SEEDS, "gpus": bench.gpus}
        given = settings_of(bench, bench.without_features(), trials, **changes)
        studies.append(run_ours(given))
        return studies[-1].wall_s

    def one_pass() -> float:
        cache = bench.fresh("cache-of-pass")
        return seconds(lambda: load_features(images, backbone, cache, bench.device))

    runs: dict[str, Callable[[], float]] = {"study": study, "pass": one_pass}
    found = rounds(runs, bench.repeats, bench.log)
    details = {
        "images": len(images.labels),
        "image_size": side,
        "epochs": bench.pick(5, 2),
        "seeds": _SEEDS,
        "study_s": [round(turn["study"], 2) for turn in found],
        "pass_s": [round(turn["pass"], 2) for turn in found],
        "searching_s": [round(s.searching_s, 2) for s in studies],
    }
    what = f"{trials} frozen configurations of {_SEEDS} seeds, start to report, in passes"
    values = [turn["study"] / turn["pass"] for turn in found]
    goal: dict[str, Any] = {"unit": "passes", "target": 1.5, "direction": "at most"}
    yield measured("frozen-256", what, values, all_done(studies), details=details, **goal)


def partial_trial(bench: Bench) -> Iterator[Row]:
    """A trial of mode partial against one of finetune, with the same steps.

    On one CPU thread, as a worker has, or on the GPU. The activations are cached: a study makes
    them once for all its trials, in the seconds that `details` has.
    """
    keep_freed_memory()
    epochs, last = bench.pick(3, 1), dict[str, EpochMetrics]()
    images, device, cache = bench.images, bench.device, bench.cache

    def trial(mode: Mode, **own: Any) -> float:
        fixed: dict[str, Any] = {"backbone": bench.backbone_name, "image_size": bench.image_size}
        fixed |= {"precision": bench.precision, "train_ratio": RATIO, "lr": 1e-4, "epochs": epochs}
        config = TrialConfig(mode=mode, aux_weight=0.3, min_steps=0, **fixed | own)

        def run() -> None:
            last[mode] = run_trial(config, images, cache, device).history[-1]

        return seconds(run)

    with one_thread():
        prefix, _ = cut_backbone(bench.backbone, 1, bench.image_size)
        once_s = seconds(lambda: load_activations(images, prefix, cache, device))
        runs = partial(trial, "finetune"), partial(trial, "partial", unfreeze=1)
        pairs = interleaved(*runs, bench.repeats, bench.log, warm_up=not bench.quick)
    ours, other = last["partial"], last["finetune"]
    gate = agree("steps", ours.step or 0, other.step or -1, 0)
    details = {
        "epochs": epochs,
        "images": len(images.labels),
        "train_ratio": RATIO,
        "activations_s": round(once_s, 2),
        "finetune_s": [round(a, 2) for a, _ in pairs],
        "partial_s": [round(b, 2) for _, b in pairs],
        "val_log_loss": {mode: metrics.val_log_loss for mode, metrics in last.items()},
    }
    what = f"a trial of finetune against one of partial (last stage), {bench.image_size} px"
    yield measured("partial-trial", what, [a / b for a, b in pairs], gate, details=details)


def start_to_report(bench: Bench) -> Iterator[Row]:
    """The command of a study of 64 frozen trials from empty caches, against the naive study."""
    waves = 2 * usable_cpus()
    pair = _Commands(bench, "freeze", bench.pick(64, 4), naive_trials=bench.pick(waves, 2))
    (row, _) = pair.rows("start-to-report", 150)
    yield row


class _Commands(Pair):
    """Both as commands, so that starting Python and importing count."""

    def _run(self, given: dict[str, Any]) -> OurStudy:
        return run_command(given)

    def _run_naive(self) -> float:
        imports_s = seconds(lambda: call(["-c", "import benchmarks.speed.studies"]))
        super()._run_naive()
        self._naive[-1] = study = self._naive[-1].later(imports_s)
        return study.wall_s(self._trials)
