"""A GPU is tried before it is used: one that fails would end what the CPU can do as well."""

import torch

from tl_core.device import CPU, find_device, is_gpu
from tl_core.errors import in_a_line


def sound_device() -> tuple[torch.device, str]:
    """Return the GPU if it works, else the CPU, and why a GPU that is there is not used."""
    device = find_device()
    if is_gpu(device):
        try:
            check_product(device)
        except RuntimeError as error:
            return CPU, f"the CPU is used, as the GPU can't work: {in_a_line(error)}"
    return device, ""


def check_product(device: torch.device) -> None:
    """Multiply two small matrices on a device, as one that is faulty fails or is wrong.

    Their numbers are integers below 2^11, so that the product is exact in every format and order.
    Raises `RuntimeError` if it is wrong, and what torch raises if it fails.
    """
    rows = torch.arange(256, device=CPU).view(-1, 1)
    left, right = (rows * rows.T) % 5, (rows + 2 * rows.T) % 7
    expected = (left @ right).float()
    found = (left.float().to(device) @ right.float().to(device)).to(CPU)
    if wrong := int((found != expected).sum()):
        raise RuntimeError(f"{wrong} of {found.numel()} numbers of a product of matrices are wrong")
