"""The number format that full networks compute in: bfloat16 where the hardware multiplies it."""

import torch
from torch import Tensor, nn

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
    float32. What follows the features is small and always float32.
    """
    if images.is_cuda:
        # Steps have few shapes, so the best algorithm is searched for each; and float32 is
        # float32, not the TF32 that convolutions take by default.
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        features: Tensor = network(images)
    return features.float()
