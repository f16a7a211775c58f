"""The number format of full networks: bfloat16 or float16 where the hardware supports it."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tl_core.config import Precision
from tl_core.device import choose_algorithms, is_gpu

NARROW: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def emulates(asked: Precision, best: Precision, on_gpu: bool) -> bool:
    """Whether hardware whose best number format is `best` computes in another one slowly."""
    # A GPU with bfloat16 has float16; a CPU's kernels are for bfloat16 alone.
    return asked not in ("fp32", best) and not (asked == "fp16" and best == "bf16" and on_gpu)


def run_network(network: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """Normalised images [B, 3, S, S] -> float32 features [B, D].

    With `bf16`, autocast computes convolutions and matrix products in bfloat16, and with `fp16` in
    float16. Weights stay float32, and so do depthwise convolutions that learn on a CPU.
    """
    return run_unconverted(network, images, precision).float()


def run_unconverted(network: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """As `run_network`, but the outputs keep the number format in which they were computed."""
    choose_algorithms(images.device, precision)
    narrow = NARROW.get(precision)
    learns_on_cpu = narrow and torch.is_grad_enabled() and not is_gpu(images.device)
    depthwise = _Float32Depthwise() if learns_on_cpu else nullcontext()
    with torch.autocast(images.device.type, narrow, enabled=narrow is not None), depthwise:
        outputs: Tensor = network(images)
    return outputs


class _Float32Depthwise(TorchFunctionMode):
    """Excludes depthwise convolutions from autocast.

    On a CPU with AVX512-BF16 their gradients in bfloat16 take 2 to 5 times as long as in float32;
    those of other convolutions are faster.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.conv2d and args[0].shape[1] > 1 == args[1].shape[1]:
            with torch.autocast("cpu", enabled=False):
                return func(args[0].float(), *args[1:], **(kwargs or {}))
        return func(*args, **(kwargs or {}))
