import os

import pytest

from study.tracking.batch import Batch


@pytest.mark.parametrize(("value", "sent"), [
    ("猫 new\nline", "猫 new\nline"),
    (os.fsdecode(b"/data/caf\xe9"), r"/data/caf\udce9"),
    ("\udce9" * 6000, r"\udce9" * 1000),
    (0.5, "0.5"),
])  # fmt: skip
def test_params_and_tags_are_text_that_databases_accept(value: object, sent: str) -> None:
    batch = Batch()
    batch.params["settings.data"] = value
    batch.tags["tl_study.error"] = str(value)[:1000]
    ((_, (param,), (tag,)),) = batch.parts()
    assert (param.key, param.value) == ("settings.data", sent)
    assert (tag.key, tag.value) == ("tl_study.error", sent)


@pytest.mark.parametrize(
    ("epochs", "params", "sizes"),
    [
        (30, 20, [(270, 20, 1)]),  # A short trial is one part.
        (200, 170, [(899, 100, 1), (901, 70, 0)]),  # At most 1,000 values, 100 of them params.
        (300, 0, [(999, 0, 1), (1000, 0, 0), (701, 0, 0)]),
    ],
)
def test_parts_keep_to_the_limits(epochs: int, params: int, sizes: list[tuple[int, ...]]) -> None:
    batch = Batch()
    for epoch in range(epochs):
        batch.add(dict.fromkeys("abcdefghi", 0.5), epoch, 1.5)
    batch.params = {f"p{i}": i for i in range(params)}
    batch.tags = {"tl_study.status": "done"}
    assert [(len(m), len(p), len(t)) for m, p, t in batch.parts()] == sizes
