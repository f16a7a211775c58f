import os

import pytest

from study.tracking.batch import Batch


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("猫 new\nline", "猫 new\nline"),
        (os.fsdecode(b"/data/caf\xe9"), r"/data/caf\udce9"),
        ("\udce9" * 6000, r"\udce9" * 1000),
        (0.5, "0.5"),
    ],
)
def test_params_and_tags_are_text_that_databases_accept(value: object, sent: str) -> None:
    batch = Batch()
    batch.params["settings.data"] = value
    batch.tags["tl_study.error"] = str(value)[:1000]
    ((_, (param,), (tag,)),) = batch.parts()
    assert (param.key, param.value) == ("settings.data", sent)
    assert (tag.key, tag.value) == ("tl_study.error", sent)
