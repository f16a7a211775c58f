"""Outputs of nets, and the archive that keeps them."""

import io

import numpy as np
import pytest
import torch

from tl_core.aux_task import AuxTask
from tl_core.objectives.outputs import Outputs, pack, unpack


def make_outputs(*shape: int) -> Outputs:
    generator = torch.Generator().manual_seed(sum(shape))
    logits = torch.randn(*shape, generator=generator)
    return Outputs(logits, torch.rand(*shape[:-1], generator=generator))


def test_one_net_or_several_are_taken_from_a_stack() -> None:
    stack = make_outputs(3, 5, 2)
    one, two = stack.of([2]), stack.of([2, 0])
    assert one.logits.tolist() == stack.logits[2].tolist()
    assert one.auxiliary.shape == (5,)
    assert two.logits.tolist() == [stack.logits[2].tolist(), stack.logits[0].tolist()]
    assert two.auxiliary.shape == (2, 5)


def test_an_archive_gives_back_every_digit() -> None:
    outputs = {"val": make_outputs(4, 1), "test": make_outputs(2, 3)}
    found = unpack(pack(outputs))
    assert list(found) == ["val", "test"]
    for split, kept in outputs.items():
        torch.testing.assert_close(found[split], kept, atol=0, rtol=0)
    assert pack(outputs) == pack(outputs), "the same outputs have the same hash"


@pytest.mark.parametrize("name", ["teacher_logits", "_logits", "logits", "val_x", "test_logits"])
def test_columns_whose_names_are_like_those_of_the_archive(name: str) -> None:
    outputs, task = (
        {"val": make_outputs(4, 1), "test": make_outputs(2, 1)},
        AuxTask(name, "regression"),
    )
    found = unpack(pack(outputs, task), task)
    assert list(found) == ["val", "test"]
    for split, kept in outputs.items():
        torch.testing.assert_close(found[split], kept, atol=0, rtol=0)


def test_objects_are_never_read() -> None:
    archive = io.BytesIO()
    np.savez(archive, test_logits=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        unpack(archive.getvalue())
    with pytest.raises(ValueError, match="outputs are no NumPy archive"):
        unpack(b"no archive")


def test_a_hundred_trials_of_25_000_images_stay_below_100_mb() -> None:
    one = make_outputs(25_000, 1)
    assert 100 * len(pack({"val": one, "test": one})) < 100e6
