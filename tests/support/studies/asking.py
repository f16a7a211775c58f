"""What is asked of `study.preflight.prepare`, for tests."""

from pathlib import Path
from typing import Any

import pytest

from study.preflight.prepare import Prepared, prepare
from tests.conftest import SIDE
from tl_core.errors import InputError


def ask(folder: Path, **given: Any) -> Prepared:
    """Prepare the quickest study there is: the article's net on 32 px images, from scratch."""
    quick = {"data": str(folder), "backbone": "mlp", "mode": ["scratch"], "image_size": str(SIDE)}
    return prepare({"train_ratio": ["0.2"]} | quick | given)


def faults_of(folder: Path, **given: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        ask(folder, **given)
    return tuple(map(str, caught.value.faults))
