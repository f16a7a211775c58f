"""Repeats one trial of a study in this process, without Ray, and compares the numbers."""

import torch
from rich.console import Console

from study.cluster.resources import gpus_of, this_machine
from study.config.settings import Settings
from study.execution.single_trial import print_epoch
from study.preflight.gpu_check import leave_out_sick_gpus
from study.preflight.resume import Replay
from study.records.trial_record import TrialRecord
from study.reporting.summary import describe
from study.search.short_sweeps import Shape, is_short
from tl_core.config import FROZEN, EpochMetrics, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.device import CPU, is_gpu, set_deterministic
from tl_core.errors import DivergedError
from tl_core.text import pluralize
from tl_core.training.setup import load_for
from tl_core.training.train import run_trial

CLOCK = "images_per_s"
"""The only value of an epoch that a replay does not repeat."""
TOGETHER = 1e-4
"""How far a frozen trial's numbers may be away: trials computed together round otherwise."""


def run_replay(replay: Replay, images: ImageSet, console: Console) -> int:
    """Train the trial again, print a line an epoch, and compare it with the record.

    A trial that was stopped early is trained as far as it came. Returns 0 if all numbers are the
    same, else 3. On a GPU they are the same only if the study was made with `--deterministic`.
    """
    settings, record = replay.settings, replay.record
    torch.set_num_threads(replay.threads)
    console.print(f"again: {describe(record, settings.metric)}", highlight=False)
    device = _device(settings, images, record.config, console)
    set_deterministic(settings.deterministic)
    history, test = _train(settings, images, record, device, console)
    apart = differences(record, history, test)
    if not apart:
        scores = ", test scores" if test else ""
        frozen = record.config.mode in FROZEN
        same = f"the same within {TOGETHER:g}" if frozen else "the same bit for bit"
        console.print(f"{same}: {pluralize(len(history), 'epoch')}{scores}")
        return 0
    console.print(how_far(apart, is_gpu(device) and not settings.deterministic))
    return 3


def how_far(apart: dict[str, float], free_order: bool) -> str:
    """Tell which values differ most from the record.

    Args:
        apart: `differences`.
        free_order: it was trained again on a GPU, which adds numbers up in any order.
    """
    name, worst = max(apart.items(), key=lambda item: item[1])
    found = f"{name} is {worst:.3g} away, the most of {len(apart)} values"
    if not free_order:
        return f"not the same: {found}"
    test = {n: gap for n, gap in apart.items() if n.startswith("test_")}
    ends = f", and test scores are within {max(test.values()):.3g}" if test else ""
    why = "a GPU adds up in any order, and each step enlarges what differs"
    way_out = "a study with --deterministic is repeated bit for bit"
    return f"not the same bits: {found}{ends}; {why}; {way_out}"


class _Stopped(Exception):  # noqa: N818 - nothing went wrong.
    """The trial has come as far as the recorded one."""


def _train(
    settings: Settings,
    images: ImageSet,
    record: TrialRecord,
    device: torch.device,
    console: Console,
) -> tuple[list[EpochMetrics], dict[str, float]]:
    history: list[EpochMetrics] = []

    def report(metrics: EpochMetrics) -> None:
        history.append(metrics)
        print_epoch(metrics, record.config.epochs, console)
        if record.status != "done" and len(history) == len(record.history):
            raise _Stopped

    config, reads = record.config, bool(record.test)
    try:
        done = run_trial(config, images, settings.cache, device, report, read_test=reads)
        return history, done.test
    except DivergedError as error:
        console.print(f"failed: {error}", style="red")
    except _Stopped:
        pass
    return history, {}


def _device(
    settings: Settings, images: ImageSet, config: TrialConfig, console: Console
) -> torch.device:
    """That of the trial: a short one learnt on the CPU of whichever machine it ran on.

    Raises `InputError` if none of the GPUs works.
    """
    if config.mode in FROZEN:
        n_features = load_for(config).n_features
        if is_short(config, Shape(images.sizes, len(images.classes), n_features)):
            return CPU
    here = this_machine(leave_out_sick_gpus() if settings.gpus != 0 else ())
    for why in here.left_out:
        console.print(f"note: left out is {why}", markup=False, highlight=False)
    return here.device(gpus_of(settings, here))


def differences(
    record: TrialRecord, history: list[EpochMetrics], test: dict[str, float]
) -> dict[str, float]:
    """Return the values that differ from the record, and by how much.

    A value that only one of the two has differs by infinity. Frozen trials may differ by
    `TOGETHER`, relative to values above 1.
    """
    allowed = TOGETHER if record.config.mode in FROZEN else 0.0
    was = _values(record.history, record.test)
    now = _values(history, test)
    names = was.keys() | now.keys()
    gaps = {n: abs(was[n] - now[n]) if n in was and n in now else float("inf") for n in names}
    return {n: gap for n, gap in gaps.items() if gap > allowed * max(1.0, abs(was.get(n, 0.0)))}


def _values(history: list[EpochMetrics], test: dict[str, float]) -> dict[str, float]:
    values = dict(test)
    for metrics in history:
        values |= {f"{n} of epoch {metrics.epoch}": v for n, v in _numbers(metrics).items()}
    return values


def _numbers(metrics: EpochMetrics) -> dict[str, float]:
    plain = metrics.plain().items()
    return {n: value for n, value in plain if value is not None and n not in ("epoch", CLOCK)}
