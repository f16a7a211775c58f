"""The number format of full networks: bfloat16 where the hardware supports it."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tl_core.config import Precision


def best_precision(device: torch.device) -> Precision:
    """Return `bf16` for a CPU with AVX512-BF16 or AMX and for a GPU with native bfloat16.

    Other hardware emulates bfloat16, slower than float32.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Inductor, torch's compiler, checks the same two.
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def run_network(network: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """Normalised images [B, 3, S, S] -> float32 features [B, D].

    With `bf16`, autocast computes convolutions and matrix products in bfloat16. Weights stay
    float32, and so do depthwise convolutions that learn on a CPU.
    """
    return run_unconverted(network, images, precision).float()


def run_unconverted(network: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """As `run_network`, but the outputs keep the number format in which they were computed."""
    if images.is_cuda:
        # Steps have few shapes, so cuDNN searches the fastest algorithm for each. And float32
        # means float32, not TF32, which convolutions use by default.
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
    bf16 = precision == "bf16"
    learns_on_cpu = bf16 and torch.is_grad_enabled() and not images.is_cuda
    depthwise = _Float32Depthwise() if learns_on_cpu else nullcontext()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16), depthwise:
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
