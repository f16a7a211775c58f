from pathlib import Path

import pytest
import torch
from huggingface_hub import constants as hub_constants
from torch import nn
from torchvision import models

from tests.conftest import TINY
from tests.support.core.entries import writes
from tests.support.core.trials import Trials
from tl_core.data.cache import publish
from tl_core.data.datasets import ImageSet
from tl_core.training import train


@pytest.fixture(autouse=True)
def own_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty folders for what torchvision and the Hugging Face hub would download."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def whole() -> nn.Module:
    """A network of torchvision's with its classifier, drawn from a seed."""
    torch.manual_seed(5)
    network: nn.Module = models.get_model(TINY, weights=None)
    return network


@pytest.fixture
def trials(images: ImageSet, own_cache: Path, tiny_weights: Path) -> Trials:
    """Runs trials on `images` that start from `tiny_weights`, read anew."""
    train.pretrained.cache_clear()
    return Trials(images, own_cache, tiny_weights)


@pytest.fixture
def three_class_trials(three_class_images: ImageSet, own_cache: Path, tiny_weights: Path) -> Trials:
    """As `trials`, on `three_class_images`."""
    train.pretrained.cache_clear()
    return Trials(three_class_images, own_cache, tiny_weights)


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """A whole entry of two files."""
    path = tmp_path / "entries" / "abc"
    publish(path, writes({"a": b"abc", "b": b""}))
    return path
