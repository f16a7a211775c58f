"""Small real inputs that the tests of both packages share."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from torch import nn
from torchvision import models

from study.cluster.ray_environment import set_ray_environment
from study.config.defaults import VARIABLES
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source

pytest_plugins = ["tests.support.study_fixtures"]

# Ray reads it while it is imported, by whichever test module comes first.
set_ray_environment()

# Fixtures of the whole session use MLflow, too; `no_mlflow_variables` is for what a test sets.
for name in VARIABLES.values():
    os.environ.pop(name, None)

# A busy machine is slow but not wrong, and a law that fails must fail again.
settings.register_profile("laws", deadline=None, derandomize=True)
settings.load_profile("laws")

TINY = "shufflenet_v2_x0_5"
"""The backbone of the trials in the tests: small, and with BatchNorm."""
SIDE = 32
"""Side of their images, pixels."""
QUICK = ["--debug", "--backbone", "mlp", "--mode", "scratch", "--epochs", "1", "--min-steps", "0"]
QUICK += ["--image-size", str(SIDE)]
"""Words that ask for the quickest trial; what follows them on a command line holds."""


def pytest_collection() -> None:
    """Search for no garbage until all is imported: it looks through every module each time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what is imported out of each later search for garbage, which takes a second with it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def kept_objects() -> Iterator[None]:
    """Leave out, too, what a module's tests have imported or put into caches."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Several threads on a machine that others use make nets this small 20 times slower."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_mlflow_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow itself sets one for the processes that it starts."""
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the study, apart from that of the person who runs the tests."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("TL_STUDY_CACHE", str(cache))
    return cache


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `photo_folder` copies."""
    return draw_folder(tmp_path_factory.mktemp("drawn") / "photos", ("cat", "dog"))


@pytest.fixture
def photo_folder(drawn_folder: Path, tmp_path: Path) -> Path:
    """Folder of 20 upright stripes (cat) and 20 level ones (dog), JPEG and PNG by turns."""
    return Path(shutil.copytree(drawn_folder, tmp_path / "photos"))


@pytest.fixture
def three_class_folder(tmp_path: Path) -> Path:
    """As `photo_folder`, and 20 slanting stripes (owl)."""
    return draw_folder(tmp_path / "photos-of-three", ("cat", "dog", "owl"))


@pytest.fixture
def images(photo_folder: Path, own_cache: Path) -> ImageSet:
    """The 40 images of `photo_folder`, 32 px."""
    return load_images(folder_source(photo_folder), SIDE, own_cache)


@pytest.fixture
def three_class_images(three_class_folder: Path, own_cache: Path) -> ImageSet:
    """The 60 images of `three_class_folder`, 32 px."""
    return load_images(folder_source(three_class_folder), SIDE, own_cache)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights file of `TINY` that stands for pretrained ones: its BatchNorm has seen inputs."""
    torch.manual_seed(7)
    network: nn.Module = models.get_model(TINY, weights=None)
    return save_used(network, tmp_path_factory.mktemp("weights") / "tiny.pth")


def save_used(network: nn.Module, path: Path) -> Path:
    """Save the weights of a network whose BatchNorm has seen inputs; return the path."""
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(16, 3, SIDE, SIDE))
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def cat_dog() -> Path:
    """Folder of real photos of cats and dogs."""
    folder = os.environ.get("TL_STUDY_CAT_DOG")
    if not folder:
        pytest.skip("TL_STUDY_CAT_DOG names no folder of photos with classes cat and dog")
    return Path(folder)


def draw_folder(root: Path, classes: tuple[str, ...], n_images: int = 20) -> Path:
    """Draw `n_images` of each class; the classes are told apart by the way their stripes run."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(n_images):
            suffix = "jpg" if i % 2 else "png"
            draw_stripes(label, rng).save(root / name / f"{i:02d}.{suffix}")
    return root


def draw_stripes(label: int, rng: np.random.Generator) -> Image.Image:
    """Stripes of a random width, place, tint and brightness, 40 by 48 pixels."""
    y, x = np.mgrid[:48, :40]
    across = (x, y, x + y)[label]
    wave = np.sin(2 * np.pi * across / rng.uniform(5, 9) + rng.uniform(0, 6))
    grey = rng.uniform(70, 180) + 50 * wave + rng.normal(0, 8, wave.shape)
    tinted = grey[..., None] + rng.uniform(-20, 20, 3)
    return Image.fromarray(tinted.clip(0, 255).astype(np.uint8))
