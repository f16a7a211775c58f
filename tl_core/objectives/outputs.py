"""What a trained net says of each image, from which every score is computed."""

import io
import zipfile
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tl_core.aux_task import BRIGHTNESS, AuxTask


class Outputs(NamedTuple):
    """Outputs of one net on N images, or of S nets on the same N images."""

    logits: Tensor
    """float32 [..., N, 1] for two classes, else [..., N, K]."""
    auxiliary: Tensor
    """Of the auxiliary task: predicted numbers, float32 [..., N], or logits [..., N, A]."""

    def of(self, nets: list[int]) -> Self:
        """Those of some of the S nets, [len(nets), N, ...], or of the one net, [N, ...]."""
        at = nets if len(nets) > 1 else nets[0]
        return type(self)(self.logits[at], self.auxiliary[at])


def pack(outputs: dict[str, Outputs], task: AuxTask = BRIGHTNESS) -> bytes:
    """Return a NumPy archive (.npz) of the outputs on some splits, which are named by the keys.

    Its arrays are `SPLIT_logits` and `SPLIT_` with the key of the auxiliary task.
    """
    arrays = {
        f"{split}_{name}": part.numpy()
        for split, found in outputs.items()
        for name, part in zip(("logits", task.key), found, strict=True)
    }
    archive = io.BytesIO()
    np.savez_compressed(archive, allow_pickle=False, **arrays)
    return archive.getvalue()


def unpack(archive: bytes, task: AuxTask = BRIGHTNESS) -> dict[str, Outputs]:
    """Return what `pack` was given, with the same task.

    Raises `ValueError` or `KeyError` for anything else.
    """
    if not zipfile.is_zipfile(io.BytesIO(archive)):
        raise ValueError("outputs are no NumPy archive")
    with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
        ends = [name.removesuffix("_logits") for name in arrays if name.endswith("_logits")]
        # The name of a column may end in this way, too.
        of_task = {f"{split}_{task.key}" for split in ends}
        splits = [split for split in ends if f"{split}_logits" not in of_task]
        return {
            split: Outputs(
                torch.from_numpy(arrays[f"{split}_logits"]),
                torch.from_numpy(arrays[f"{split}_{task.key}"]),
            )
            for split in splits
        }
