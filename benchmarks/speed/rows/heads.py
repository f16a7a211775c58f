"""The heads of many seeds as one computation, against one after another; one CPU thread."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torchvision import models

from benchmarks.speed.bench import RATIO, Bench
from benchmarks.speed.harness import Row, agree, all_of, measured, rounds, seconds
from tl_core.config import TrialConfig
from tl_core.data.splits import make_split
from tl_core.models.heads import Heads
from tl_core.runtime import keep_freed_memory, one_thread
from tl_core.training.batches import epoch_order
from tl_core.training.features import load_features
from tl_core.training.fit import fit
from tl_core.training.learners import NetLearner
from tl_core.training.train import pretrained, run_trial
from tl_core.training.weighting import make_weighting

_CPU = torch.device("cpu")


def fused_heads(bench: Bench) -> Iterator[Row]:
    """Against the plain loop (a module, autograd, Adam), and against our own with one seed.

    For the features of two backbones, as what a step costs is the reading of its rows: those of
    the backbone that is measured, and the 512 of ResNet18, by default a study's, with random
    weights, which cost the same.
    """
    keep_freed_memory()  # For all sides: it is a setting of the process.
    yield from _fused(bench, bench.backbone_name, "default")
    weights = bench.fresh("weights") / "resnet18.pth"
    torch.save(models.resnet18(weights=None).state_dict(), weights)
    yield from _fused(bench, "resnet18", str(weights))


def _fused(bench: Bench, backbone: str, weights: str) -> Iterator[Row]:
    n = bench.pick(32, 8)
    own = pretrained(backbone, weights, bench.image_size, bench.precision)
    rows = torch.from_numpy(load_features(bench.images, own, bench.cache, bench.device))
    fixed = {"backbone": backbone, "weights": weights, "epochs": bench.pick(10, 3)}
    configs = [bench.config("freeze", seed=seed, **fixed) for seed in range(n)]
    losses: dict[str, float] = {}

    def plain() -> None:
        losses["plain"] = float(np.mean([_plain(bench, config, rows) for config in configs]))

    def alone() -> None:
        losses["alone"] = float(np.mean([_ours(bench, config) for config in configs]))

    def fused() -> None:
        losses["fused"] = _ours(bench, bench.config("freeze", seeds=n, **fixed))

    runs = {"plain": seconds(plain), "alone": seconds(alone), "fused": seconds(fused)}
    with one_thread():
        rounds(runs, 1)  # A warm-up.
        found = rounds(runs, bench.repeats, bench.tell)
    names = ("plain", "alone")
    gates = [agree("mean val_log_loss", losses["fused"], losses[name], 1e-4) for name in names]
    told = {
        "seeds": n,
        "features": rows.shape[1],
        "ms_a_head": {k: [round(1000 * each[k] / n, 3) for each in found] for k in runs},
        "images": len(bench.images.labels),
        "train_ratio": RATIO,
    }
    what = f"time per head of {n} seeds on {rows.shape[1]} features, fused against"
    sides = (("plain", "a plain loop", 20), ("alone", "ours, seed by seed", None))
    for name, against, target in sides:
        values = [each[name] / each["fused"] for each in found]
        row = f"fused-heads-{backbone}-{name}"
        yield measured(row, f"{what} {against}", values, all_of(gates), target=target, details=told)


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
        make_weighting(config.aux_weight, 1, _CPU),
        partial(epoch_order, split.train, config.seed),
        config.batch_size,
        len(split.val),
        lambda views: rows[torch.from_numpy(views)],
    )
    return fit(learner, split, config, config.lr, lambda _: None)[-1].val_log_loss
