"""How near the frozen backbone comes to what a matrix product reaches."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.bench import Bench
from benchmarks.speed.ceilings import matrix_product, runs_per_s
from benchmarks.speed.harness import Gate, Row, interleaved, measured
from tl_core.config import Precision
from tl_core.models.precision import run_network
from tl_core.training.batches import eval_batch, pixel_reader

_APART = 0.1
"""How far features may lie from those in float32, as a share of their length: bf16 keeps three
digits, and fifty layers round one after the other."""


def backbone_flops(bench: Bench) -> Iterator[Row]:
    """FLOP/s of the frozen backbone against the matrix product of the same precision."""
    device, backbone = bench.device, bench.backbone
    size = min(eval_batch(device, bench.image_size), len(bench.images.labels))
    network = backbone.network.to(device).to(memory_format=torch.channels_last).eval()
    images = pixel_reader(bench.images, backbone, device)(np.arange(size))
    flops = count_flops(network, images)

    def ceiling() -> float:
        return matrix_product(device, backbone.precision)

    @torch.inference_mode()
    def forward() -> float:
        run: Callable[[], Tensor] = lambda: run_network(network, images, backbone.precision)  # noqa: E731
        return flops * runs_per_s(run, device, bench.pick(1.0, 0.3))

    pairs = interleaved(ceiling, forward, bench.repeats, bench.tell)
    told = {
        "precision": backbone.precision,
        "threads": torch.get_num_threads(),
        "batch": size,
        "mflop_an_image": flops / size / 1e6,
        "ceiling_gflop_per_s": [round(a / 1e9, 1) for a, _ in pairs],
        "backbone_gflop_per_s": [round(b / 1e9, 1) for _, b in pairs],
        "images_per_s": [round(size * b / flops, 1) for _, b in pairs],
    }
    what = f"FLOP/s of {backbone.name} against a matrix product, {backbone.precision}"
    gate = same_features(network, images, backbone.precision)
    share = [ours / most for most, ours in pairs]
    yield measured("backbone-flops", what, share, gate, unit="of 1", details=told)


def count_flops(network: nn.Module, images: Tensor) -> int:
    """Floating-point operations of one forward pass; a multiplication and an addition are two."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops())


@torch.inference_mode()
def same_features(network: nn.Module, images: Tensor, precision: Precision) -> Gate:
    """Gate on the features being those of float32."""
    ours = run_network(network, images, precision)
    plain = network(images.contiguous()).float()
    apart = ((ours - plain).norm() / plain.norm()).item()
    text = f"features {apart:.2g} of their length from those in float32 (most {_APART:g})"
    return Gate(apart <= _APART, text)
