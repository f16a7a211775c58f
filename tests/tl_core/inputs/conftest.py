"""A network that is cut before its last stage, and its cached activations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import SIDE, TINY
from tl_core.data.datasets import ImageSet
from tl_core.errors import OutOfTimeError
from tl_core.files import file_lock
from tl_core.inputs.prefix import Activations, Prefix, cut_backbone, load_activations
from tl_core.models.backbones import Backbone, load_backbone

CPU = torch.device("cpu")
Load = Callable[..., Activations]


@contextmanager
def built_elsewhere(entry: Path) -> Iterator[None]:
    """Another process builds an entry of the cache, until the time of what waits here is over."""
    entry.parent.mkdir(parents=True)
    with file_lock(entry.with_suffix(".lock")), pytest.raises(OutOfTimeError, match=entry.name):
        yield


@pytest.fixture(scope="session")
def backbone_of_all(tiny_weights: Path) -> Backbone:
    """What `backbone` copies, in half of the time that reading it takes."""
    return load_backbone(TINY, str(tiny_weights), SIDE)


@pytest.fixture
def backbone(backbone_of_all: Backbone) -> Backbone:
    return replace(backbone_of_all, network=deepcopy(backbone_of_all.network))


@pytest.fixture
def prefix(backbone: Backbone) -> Prefix:
    """All but the last of the four stages."""
    return cut_backbone(backbone, 1, SIDE)[0]


@pytest.fixture
def load(images: ImageSet, prefix: Prefix, own_cache: Path) -> Load:
    """Loads activations of `prefix`, or of another one."""

    def load_some(one: Prefix = prefix, **options: Any) -> Activations:
        return load_activations(images, one, own_cache, CPU, **options)

    return load_some
