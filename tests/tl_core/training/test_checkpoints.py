import hashlib
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.core.weights_files import Trap
from tl_core.training.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointWarning,
    LocalFile,
    State,
    load_checkpoint,
    save_checkpoint,
)

STATE: State = {"model": {"weight": torch.arange(6.0).view(2, 3)}, "history": [{"epoch": 1}]}


@pytest.fixture(scope="module")
def spot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples of a law write their files, one over the other."""
    return tmp_path_factory.mktemp("checkpoints") / "2.ckpt"


def with_digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


def torch_saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "1.ckpt"
    save_checkpoint(LocalFile(path), STATE)
    again, content = load_checkpoint(LocalFile(path)), path.read_bytes()
    assert torch.equal(again["model"]["weight"], STATE["model"]["weight"])
    assert again["history"] == STATE["history"]
    assert [file.name for file in path.parent.iterdir()] == ["1.ckpt"]
    assert content == with_digest(content[32:])
    path.write_bytes(with_digest(torch_saved([1, 2])))
    with pytest.raises(CheckpointError, match=r"holds no state: list$"):
        load_checkpoint(LocalFile(path))


@given(st.data())
def test_no_damaged_or_foreign_file_passes(spot: Path, data: st.DataObject) -> None:
    saved = with_digest(torch_saved(STATE))
    at, foreign = st.integers(0, len(saved) - 1), st.binary(max_size=200)
    prefix = (at | st.sampled_from([0, 31, 32, 33])).map(lambda n: saved[:n])
    flipped = st.tuples(at, st.integers(1, 255)).map(
        lambda one: saved[: one[0]] + bytes([saved[one[0]] ^ one[1]]) + saved[one[0] + 1 :]
    )
    spot.write_bytes(data.draw(prefix | flipped | foreign | st.just(torch_saved(STATE))))
    message = f"checkpoint {spot} is damaged: its content does not match the SHA-256 at its start"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_checkpoint(LocalFile(spot))
    spot.write_bytes(with_digest(data.draw(foreign)))
    with pytest.raises(CheckpointError, match="holds more than tensors and plain values"):
        load_checkpoint(LocalFile(spot))


@pytest.mark.parametrize(
    "written",
    [
        pickle.dumps,
        lambda trap: with_digest(pickle.dumps(trap, 2)),
        lambda trap: with_digest(torch_saved({"a": trap})),
    ],
    ids=["a pickle", "a pickle and its hash", "torch's, and its hash"],
)
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, written: Callable[[Trap], bytes]) -> None:
    path = tmp_path / "1.ckpt"
    path.write_bytes(written(Trap(tmp_path / "sprung")))
    with pytest.warns(CheckpointWarning, match=r"the trial starts anew$"):
        assert not Checkpoint(LocalFile(path), {}).resumes
    assert not (tmp_path / "sprung").exists()
