"""The number format that full networks compute in: bfloat16 where the hardware multiplies it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tl_core.config import Precision


def best_precision(device: torch.device) -> Precision:
    """Ask the hardware: `bf16` on a CPU with AVX512-BF16 or AMX and on a GPU that has it built in.

    Elsewhere bfloat16 is emulated, and slower than float32.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Inductor asks the same two.
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def run_network(network: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """Normalised images [B, 3, S, S] -> float32 features [B, D].

    With `bf16`, autocast computes convolutions and matrix products in bfloat16; weights stay
    float32. What follows the features is small and always float32. So are depthwise convolutions
    that learn on a CPU.
    """
    if images.is_cuda:
        # Steps have few shapes, so the best algorithm is searched for each; and float32 is
        # float32, not the TF32 that convolutions take by default.
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
    bf16 = precision == "bf16"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16), _depthwise(images, bf16):
        features: Tensor = network(images)
    return features.float()


def _depthwise(images: Tensor, bf16: bool) -> AbstractContextManager[object]:
    learns = bf16 and torch.is_grad_enabled() and not images.is_cuda
    return _Float32Depthwise() if learns else nullcontext()


def _is_depthwise(images: Tensor, weight: Tensor) -> bool:
    return images.shape[1] > 1 == weight.shape[1]


class _Float32Depthwise(TorchFunctionMode):
    """Leaves depthwise convolutions out of autocast.

    Their gradients in bfloat16 take 2 to 5 times as long as in float32 on a CPU with AVX512-BF16;
    those of all others are faster.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.conv2d and _is_depthwise(*args[:2]):
            with torch.autocast("cpu", enabled=False):
                return func(args[0].float(), *args[1:], **(kwargs or {}))
        return func(*args, **(kwargs or {}))
