"""Weights of small networks, saved and compared, for the tests of where weights come from."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.conftest import TINY
from tl_core.models.backbones import Backbone, load_backbone

SIDE = 64


def load(file: Path, name: str = TINY) -> Backbone:
    """The backbone with the weights in `file`."""
    return load_backbone(name, str(file), SIDE)


def assert_same_entries(network: nn.Module, expected: dict[str, Tensor]) -> None:
    """Hold every entry of `network` against the one of its name."""
    assert (own := network.state_dict())
    assert [name for name, value in own.items() if not torch.equal(value, expected[name])] == []


def sha256(path: Path) -> str:
    """The hash of what the file holds."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Trap:
    """Unpickled without care, this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)
