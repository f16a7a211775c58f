"""The heads of many seeds as one computation, against one after another; one CPU thread."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.bench import RATIO, Bench, one_thread
from benchmarks.harness import Row, agree, all_of, measured, rounds, seconds
from tl_core.batches import epoch_order
from tl_core.config import TrialConfig
from tl_core.features import load_features
from tl_core.fit import fit
from tl_core.heads import Heads
from tl_core.learners import NetLearner
from tl_core.memory import keep_freed_memory
from tl_core.splits import make_split
from tl_core.train import run_trial

_CPU = torch.device("cpu")


def fused_heads(bench: Bench) -> Iterator[Row]:
    """Against the plain loop (a module, autograd, Adam), and against our own with one seed."""
    n = bench.pick(32, 8)
    keep_freed_memory()  # For all sides: it is a setting of the process.
    rows = torch.from_numpy(load_features(bench.images, bench.backbone, bench.cache, _CPU))
    configs = [_config(bench, seed=seed) for seed in range(n)]
    losses: dict[str, float] = {}

    def plain() -> None:
        losses["plain"] = float(np.mean([_plain(bench, config, rows) for config in configs]))

    def alone() -> None:
        losses["alone"] = float(np.mean([_ours(bench, config) for config in configs]))

    def fused() -> None:
        losses["fused"] = _ours(bench, _config(bench, seeds=n))

    runs = {"plain": seconds(plain), "alone": seconds(alone), "fused": seconds(fused)}
    one_thread(lambda: rounds(runs, 1))  # A warm-up.
    found = one_thread(lambda: rounds(runs, bench.repeats, bench.tell))
    names = ("plain", "alone")
    gates = [agree("mean val_log_loss", losses["fused"], losses[name], 1e-4) for name in names]
    told = {
        "seeds": n,
        "ms_a_head": {k: [round(1000 * each[k] / n, 3) for each in found] for k in runs},
        "images": len(bench.images.labels),
        "train_ratio": RATIO,
    }
    for name, of_what in (("plain", "a plain loop over them"), ("alone", "ours, seed by seed")):
        values = [each[name] / each["fused"] for each in found]
        row = "fused-heads" if name == "plain" else "fused-heads-alone"
        what = f"time per head of {n} seeds, fused against {of_what}, one thread"
        yield measured(row, what, values, all_of(gates), target=20, details=told)


def _config(bench: Bench, **changes: int) -> TrialConfig:
    return bench.config("freeze", epochs=bench.pick(10, 3), **changes)


def _ours(bench: Bench, config: TrialConfig) -> float:
    return run_trial(config, bench.images, bench.cache, _CPU).history[-1].val_log_loss


def _plain(bench: Bench, config: TrialConfig, rows: torch.Tensor) -> float:
    """What one writes who trains a head on features: the loop that whole networks learn in."""
    images = bench.images
    split = make_split(images.labels, config.train_ratio, config.split_seed, config.seed)
    torch.manual_seed(config.seed)
    heads = Heads(rows.shape[1], len(images.classes))
    learner = NetLearner(
        heads,
        torch.from_numpy(images.labels),
        torch.from_numpy(images.brightness),
        config.aux_weight,
        partial(epoch_order, split.train, config.seed),
        config.batch_size,
        len(split.val),
        lambda views: rows[torch.from_numpy(views)],
    )
    return fit(learner, split, config, config.lr, lambda _: None)[-1].val_log_loss
