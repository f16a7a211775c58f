from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants as hub_constants
from torch import nn
from torchvision import models

from tests.conftest import SIDE, TINY, draw_folder, save_used
from tests.support.core.entries import writes
from tests.support.core.trials import NET, Trials
from tl_core.data.caching.entries import publish
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.training import setup
from tl_core.training.checkpoints import Checkpoint


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


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of images and features that all trials use; tests only add to it."""
    return tmp_path_factory.mktemp("shared") / "cache"


@pytest.fixture(scope="session")
def shared_images(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> ImageSet:
    """The same 40 images as in `images`; read-only."""
    folder = draw_folder(tmp_path_factory.mktemp("two") / "photos", ("cat", "dog"))
    return load_images(folder_source(folder), SIDE, shared_cache)


@pytest.fixture(scope="session")
def images_of_three(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> ImageSet:
    """The same 60 images as in `three_class_images`; read-only."""
    folder = draw_folder(tmp_path_factory.mktemp("three") / "photos", ("cat", "dog", "owl"))
    return load_images(folder_source(folder), SIDE, shared_cache)


@pytest.fixture(scope="session")
def net_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights file of `NET` that stands for pretrained ones."""
    torch.manual_seed(7)
    network = timm.create_model(NET.removeprefix("timm:"))
    return save_used(network, tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture
def trials(shared_images: ImageSet, shared_cache: Path, net_weights: Path) -> Trials:
    """Runs trials on two classes that start from `net_weights`, read again for each test."""
    setup.pretrained.cache_clear()
    return Trials(shared_images, shared_cache, net_weights)


@pytest.fixture
def three_class_trials(trials: Trials, images_of_three: ImageSet) -> Trials:
    """As `trials`, on three classes."""
    return Trials(images_of_three, trials.cache, Path(trials.weights))


@pytest.fixture
def lone_trials(trials: Trials, own_cache: Path) -> Trials:
    """As `trials`, with a cache of features of their own."""
    return Trials(trials.images, own_cache, Path(trials.weights))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a trial wait for each state to be on disk, so that a cut finds the last one."""
    save = Checkpoint.save_if_due

    def save_and_wait(self: Checkpoint, *state: Any) -> None:
        save(self, *state)
        if self._writer:
            self._writer.join()

    monkeypatch.setattr(Checkpoint, "save_if_due", save_and_wait)


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """An intact entry of two files."""
    path = tmp_path / "entries" / "abc"
    publish(path, writes({"a": b"abc", "b": b""}))
    return path
