"""ResNet18 at 224 on one GPU: training, features, and several processes that share it."""

import statistics
from collections.abc import Iterator
from multiprocessing import get_context

import torch

from benchmarks.bench import Bench
from benchmarks.gpu_steps import Kind, Steps, share_gpu
from benchmarks.harness import Gate, Row, SkippedError, agree, all_of, interleaved, measured

MEMORY_LIMIT = 38_500
"""Training images/s at which an H100's memory could feed the activations of ResNet18."""
_PROCESSES, _SMALL, _LARGE = 4, 32, 128


def gpu_training(bench: Bench) -> Iterator[Row]:
    """Training images/s, eager and compiled."""
    yield from _rates(bench, "train", "gpu-training", 15_000)


def gpu_features(bench: Bench) -> Iterator[Row]:
    """Images/s of the frozen network, eager and compiled."""
    yield from _rates(bench, "features", "gpu-features", 40_000)


def gpu_sharing(bench: Bench) -> Iterator[Row]:
    """Several processes with small batches against one with a large batch."""
    _need_gpu()
    least_s = bench.pick(5.0, 1.0)

    def one() -> float:
        return sum(_together(1, _LARGE, least_s))

    def several() -> float:
        return sum(_together(_PROCESSES, _SMALL, least_s))

    pairs = interleaved(one, several, bench.repeats, bench.tell)
    gate = loss_gate(Steps("train", _SMALL, compiled=False))
    told = {"one_images_per_s": [a for a, _ in pairs], "all_images_per_s": [b for _, b in pairs]}
    what = f"{_PROCESSES} processes at batch {_SMALL} together, against one at batch {_LARGE}"
    values = [several / one for one, several in pairs]
    yield measured("gpu-sharing", what, values, gate, details=told)


def _rates(bench: Bench, kind: Kind, name: str, target: float) -> Iterator[Row]:
    _need_gpu()
    for batch in (_SMALL, _LARGE):
        for compiled in (False, True):
            steps = Steps(kind, batch, compiled)
            gate = loss_gate(steps)
            steps.images_per_s(0.5)
            values = [steps.images_per_s(bench.pick(2.0, 0.5)) for _ in range(bench.repeats)]
            how = "compiled" if compiled else "eager"
            what = f"ResNet18 at 224, {kind}, batch {batch}, {how}"
            told = {"share_of_memory_limit": statistics.median(values) / MEMORY_LIMIT}
            yield measured(
                f"{name}-{batch}-{how}",
                what,
                values,
                gate,
                unit="images/s",
                target=target,
                details=told,
            )


def _need_gpu() -> None:
    if not torch.cuda.is_available():
        raise SkippedError("no GPU")


def loss_gate(steps: Steps) -> Gate:
    """Gate on the loss being that of float32 without the compiler, and finite after a step."""
    with torch.no_grad():
        ours, plain = steps.loss().item(), steps.loss(plain=True).item()
    steps.step()
    with torch.no_grad():
        after = steps.loss().item()
    finite = Gate(after == after and abs(after) < 1e3, f"loss {after:.3g} after a step")
    return all_of([agree("loss", ours, plain, 0.02 * abs(plain)), finite])


def _together(processes: int, batch: int, least_s: float) -> list[float]:
    context = get_context("spawn")
    barrier, found = context.Barrier(processes), context.Queue()
    given = (batch, least_s, barrier.wait, found)
    started = [context.Process(target=share_gpu, args=given) for _ in range(processes)]
    for process in started:
        process.start()
    try:
        return [found.get(timeout=600) for _ in started]
    finally:
        for process in started:
            process.join(10)
            process.kill()
