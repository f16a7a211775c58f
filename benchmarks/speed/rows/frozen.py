"""Frozen networks: the backbone's FLOP/s, and the heads of many seeds as one computation."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from benchmarks.common import seconds
from benchmarks.speed.bench import RATIO, Bench, matrix_product, runs_per_s
from benchmarks.speed.harness import Gate, Row, agree, all_of, interleaved, measured, rounds
from tl_core.config import Precision, TrialConfig
from tl_core.data.splits import make_split
from tl_core.inputs.batches import epoch_order, eval_batch
from tl_core.inputs.features import load_features
from tl_core.models.backbones import Backbone, load_backbone
from tl_core.models.folding import fold_backbone
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.models.precision import run_network
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import make_weighting
from tl_core.runtime import keep_freed_memory, one_thread
from tl_core.training.fit import fit
from tl_core.training.learners.net import NetLearner
from tl_core.training.schedule import Budget
from tl_core.training.setup import pretrained
from tl_core.training.train import run_trial

_CPU = torch.device("cpu")
_SIDE = 224
"""Of the images that features are made of, pixels."""
_APART = 0.1
"""How far features may be from those in float32, relative to their norm: bf16 keeps three
digits, and fifty layers round one after the other."""


def extraction(bench: Bench) -> Iterator[Row]:
    """FLOP/s of frozen networks at 224 px as they make features, against a matrix product.

    Of EfficientNet-Lite0, and of ResNet18 with random weights, which cost the same; in float32,
    and in the precision of the device.
    """
    weights = bench.fresh("weights") / "resnet18.pth"
    torch.save(models.resnet18(weights=None).state_dict(), weights)
    precisions: tuple[Precision, ...] = ("fp32", bench.precision)
    for name, file in (("efficientnet_lite0", "default"), ("resnet18", str(weights))):
        for precision in dict.fromkeys(precisions):
            yield _extraction(bench, replace(load_backbone(name, file, _SIDE), precision=precision))


def _extraction(bench: Bench, backbone: Backbone) -> Row:
    device, precision = bench.device, backbone.precision
    ready = fold_backbone(backbone, _SIDE)
    networks = [each.network.to(device).eval() for each in (backbone, ready)]
    plain, network = (each.to(memory_format=torch.channels_last) for each in networks)
    size = bench.pick(eval_batch(device, _SIDE), 4)
    images = torch.randn(size, 3, _SIDE, _SIDE, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    flops = count_flops(plain, images)

    @torch.inference_mode()
    def forward() -> float:
        run: Callable[[], Tensor] = lambda: run_network(network, images, precision)  # noqa: E731
        return flops * runs_per_s(run, device, bench.pick(1.0, 0.3))

    pairs = interleaved(
        lambda: matrix_product(device, precision), forward, bench.repeats, bench.log
    )
    details = {
        "precision": precision,
        "threads": torch.get_num_threads(),
        "batch": size,
        "mflop_an_image": flops / size / 1e6,
        "ceiling_gflop_per_s": [round(a / 1e9, 1) for a, _ in pairs],
        "network_gflop_per_s": [round(b / 1e9, 1) for _, b in pairs],
        "images_per_s": [round(size * b / flops, 1) for _, b in pairs],
    }
    with torch.inference_mode():
        gate = near_fp32(run_network(network, images, precision), plain(images).float())
    what = f"FLOP/s of {backbone.name}'s features at {_SIDE} px against a product, {precision}"
    share = [ours / most for most, ours in pairs]
    row = f"extraction-{backbone.name}-{precision}"
    return measured(row, what, share, gate, unit="of 1", details=details)


def count_flops(network: nn.Module, images: Tensor) -> int:
    """Floating-point operations of one forward pass; a multiplication and an addition are two."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops())


def near_fp32(features: Tensor, plain: Tensor) -> Gate:
    """Gate on features being close to `plain`, those computed in float32."""
    apart = ((features - plain).norm() / plain.norm()).item()
    return agree("relative distance of the features from float32's", apart, 0, _APART)


def fused_heads(bench: Bench) -> Iterator[Row]:
    """Against the plain loop (a module, autograd, Adam), and against our own with one seed.

    For the features of two backbones, since reading the rows dominates a step: the measured
    backbone's, and the 512 of ResNet18, a study's default, with random weights at the same cost.
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

    runs = {side.__name__: partial(seconds, side) for side in (plain, alone, fused)}
    with one_thread():
        rounds(runs, 1)  # A warm-up.
        found = rounds(runs, bench.repeats, bench.log)
    sides = (("plain", "a plain loop", 20), ("alone", "ours, seed by seed", None))
    gates = [agree("mean val_log_loss", losses["fused"], losses[name], 1e-4) for name, *_ in sides]
    details = {
        "seeds": n,
        "features": rows.shape[1],
        "ms_a_head": {k: [round(1000 * each[k] / n, 3) for each in found] for k in runs},
        "images": len(bench.images.labels),
        "train_ratio": RATIO,
    }
    what = f"time per head of {n} seeds on {rows.shape[1]} features, fused against"
    for name, against, target in sides:
        values = [each[name] / each["fused"] for each in found]
        row = f"fused-heads-{backbone}-{name}"
        gate = all_of(gates)
        yield measured(row, f"{what} {against}", values, gate, target=target, details=details)


def _ours(bench: Bench, config: TrialConfig) -> float:
    return run_trial(config, bench.images, bench.cache, _CPU).history[-1].val_log_loss


def _plain(bench: Bench, config: TrialConfig, rows: torch.Tensor) -> float:
    """The usual way to train a head on features: the loop that whole networks learn in."""
    images = bench.images
    split = make_split(images.labels, config.train_ratio, config.split_seed, config.seed)
    torch.manual_seed(config.seed)
    heads = Heads(rows.shape[1], len(images.classes))
    brightness = torch.from_numpy(images.brightness)
    learner = NetLearner(
        TwoHeadedNet(nn.Identity(), heads),
        torch.from_numpy(images.labels),
        brightness,
        TargetScale.of(brightness, [split.train]).one(),
        make_weighting(config.aux_weight, _CPU),
        partial(epoch_order, split.train, config.seed),
        Budget.of(config, len(split.train)),
        len(split.val),
        lambda views: rows[torch.from_numpy(views)],
    )
    return fit(learner, split, config, lambda _: None)[-1].val_log_loss
