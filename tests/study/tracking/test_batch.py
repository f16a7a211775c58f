import os

import pytest

from study.tracking.batch import Batch


def told(batch: Batch) -> dict[str, str]:
    """Params and tags as they would be sent."""
    sent: dict[str, str] = {}
    for _, params, tags in batch.parts():
        sent |= {param.key: param.value for param in params} | {tag.key: tag.value for tag in tags}
    return sent


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("猫 new\nline", "猫 new\nline"),
        (os.fsdecode(b"/data/caf\xe9"), r"/data/caf\udce9"),
        ("\udce9" * 6000, r"\udce9" * 1000),
        (0.5, "0.5"),
    ],
)
def test_params_are_text_that_databases_take(value: object, sent: str) -> None:
    batch = Batch()
    batch.params["settings.data"] = value
    assert told(batch) == {"settings.data": sent}


def test_tags_are_text_that_databases_take() -> None:
    batch = Batch()
    batch.tags["tl_study.error"] = os.fsdecode(b"no file caf\xe9")
    assert told(batch) == {"tl_study.error": r"no file caf\udce9"}
