"""What is asked of `study.preflight.prepare`, for tests."""

from pathlib import Path
from typing import Any

import pytest

from study.preflight.prepare import Prepared, prepare_new
from tests.conftest import SIDE
from tl_core.errors import InputError

QUICKEST = {"backbone": "mlp", "mode": ["scratch"], "image_size": str(SIDE), "train_ratio": ["0.2"]}
"""The quickest study: the article's net on 32 px images, from scratch."""


def ask(folder: Path, **given: Any) -> Prepared:
    """Prepare the quickest study of these images, with other settings as given."""
    return prepare_new(QUICKEST | {"data": str(folder)} | given)


def faults_of(folder: Path, **given: Any) -> tuple[str, ...]:
    """Why such a study can't start."""
    with pytest.raises(InputError) as caught:
        ask(folder, **given)
    return tuple(map(str, caught.value.faults))
