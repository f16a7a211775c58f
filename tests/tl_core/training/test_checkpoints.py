import hashlib
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

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
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of a good checkpoint."""
    path = tmp_path_factory.mktemp("checkpoints") / "1.ckpt"
    save_checkpoint(LocalFile(path), STATE)
    return path.read_bytes()


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
    again = load_checkpoint(LocalFile(path))
    assert torch.equal(again["model"]["weight"], STATE["model"]["weight"])
    assert again["history"] == STATE["history"]
    assert [file.name for file in path.parent.iterdir()] == ["1.ckpt"]


def test_the_file_begins_with_the_hash_of_the_rest(saved: bytes) -> None:
    assert saved[:32] == hashlib.sha256(saved[32:]).digest()


@given(st.data())
def test_no_prefix_passes(saved: bytes, spot: Path, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(saved) - 1) | st.sampled_from([0, 31, 32, 33]))
    spot.write_bytes(saved[:length])
    with pytest.raises(CheckpointError, match=f"^checkpoint {re.escape(str(spot))} is damaged"):
        load_checkpoint(LocalFile(spot))


@given(st.data(), st.integers(1, 255))
def test_no_changed_byte_passes(saved: bytes, spot: Path, data: st.DataObject, flip: int) -> None:
    at = data.draw(st.integers(0, len(saved) - 1))
    spot.write_bytes(saved[:at] + bytes([saved[at] ^ flip]) + saved[at + 1 :])
    with pytest.raises(CheckpointError, match="its content does not match the SHA-256 at"):
        load_checkpoint(LocalFile(spot))


@given(st.binary(max_size=200))
@example(torch_saved(STATE))
def test_no_foreign_file_passes(spot: Path, content: bytes) -> None:
    spot.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(LocalFile(spot))


@given(st.binary(max_size=200))
def test_a_hash_alone_makes_no_checkpoint(spot: Path, content: bytes) -> None:
    spot.write_bytes(with_digest(content))
    with pytest.raises(CheckpointError, match="holds more than tensors and plain values"):
        load_checkpoint(LocalFile(spot))


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.ckpt"
    path.write_bytes(with_digest(torch_saved([1, 2])))
    with pytest.raises(CheckpointError, match=r"holds no state: list$"):
        load_checkpoint(LocalFile(path))


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(pickle.dumps, id="a pickle"),
        pytest.param(lambda evil: with_digest(pickle.dumps(evil, 2)), id="a pickle and its hash"),
        pytest.param(
            lambda evil: with_digest(torch_saved({"a": evil})), id="torch's, and its hash"
        ),
    ],
)
def test_a_malicious_pickle_runs_nothing(
    tmp_path: Path, written: Callable[[Malicious], bytes]
) -> None:
    marker, path = tmp_path / "marker", tmp_path / "1.ckpt"
    evil = Malicious(marker)
    path.write_bytes(written(evil))
    with pytest.warns(CheckpointWarning, match=r"the trial starts anew$"):
        assert not Checkpoint(LocalFile(path), {}).resumes
    assert not marker.exists()
    pickle.loads(pickle.dumps(evil)).close()
    assert marker.exists(), "it was harmless"


def test_a_full_disk_is_told_and_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "1.ckpt"
    save_checkpoint(LocalFile(path), STATE)
    # On Linux every write to this device fails as on a full disk.
    (tmp_path / ".1.ckpt.fresh").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(LocalFile(path), STATE | {"history": []})
    assert load_checkpoint(LocalFile(path))["history"] == STATE["history"]
    assert [file.name for file in tmp_path.iterdir()] == ["1.ckpt"]
