import hashlib
import io
import pickle
import re
import threading
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.core.trials import changed, state
from tests.support.core.weights_files import Trap
from tl_core.files import LocalFile
from tl_core.training import checkpoints
from tl_core.training.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointWarning,
    State,
    load_checkpoint,
    save_checkpoint,
)
from tl_core.training.learners.net import Part

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


@pytest.mark.parametrize("written", [
    pickle.dumps,
    lambda trap: with_digest(pickle.dumps(trap, 2)),
    lambda trap: with_digest(torch_saved({"a": trap})),
], ids=["a pickle", "a pickle and its hash", "torch's, and its hash"])  # fmt: skip
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, written: Callable[[Trap], bytes]) -> None:
    path = tmp_path / "1.ckpt"
    path.write_bytes(written(Trap(tmp_path / "sprung")))
    with pytest.warns(CheckpointWarning, match=r"the trial starts anew$"):
        assert not Checkpoint(LocalFile(path), {}).resumes
    assert not (tmp_path / "sprung").exists()


def test_a_file_has_the_state_of_its_own_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    class Late:
        """A copy that has not ended before further steps are taken."""

        def __init__(self, _: torch.device) -> None:
            pass

        def wait(self) -> None:
            assert go_on.wait(60), "no step was taken while the state was written"

    monkeypatch.setattr(checkpoints, "CopyEvent", Late)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(net.parameters(), 0.1)
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer.add_param_group({"params": [weight]})
    weighting = SimpleNamespace(groups=lambda: [{"params": [weight]}])
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    learner: Any = SimpleNamespace(
        model=net, weighting=weighting, labels=torch.zeros(1), scaler=scaler
    )

    def step() -> None:
        optimizer.zero_grad()
        ((net(torch.randn(4, 3)) + weight) ** 2).sum().backward()
        optimizer.step()

    def kept_after(first: int) -> None:
        """Begin to save the state of a step, take two more, and look at what is saved."""
        go_on.clear()
        step()
        then, of_optimizer = state(net), deepcopy(optimizer.state_dict()["state"])
        random, of_tasks = torch.get_rng_state(), weight.detach().clone()
        with checkpoint:
            checkpoint.save_if_due(learner, optimizer, [], Part(first))
            for number in (first + 1, first + 2):
                step()
                checkpoint.save_if_due(learner, optimizer, [], Part(number))
            go_on.set()
        saved = load_checkpoint(file)
        assert len(changed(then, state(net))) == len(then)
        assert changed(then, saved["model"]) == set()
        assert torch.equal(saved["weighting"][0], of_tasks)
        assert torch.equal(saved["random"]["cpu"], random)
        for at, values in of_optimizer.items():
            assert changed(values, saved["optimizer"]["state"][at]) == set()
        assert saved["part"]["steps"] == first

    file = LocalFile(tmp_path / "1.ckpt")
    checkpoint = Checkpoint(file, {}, every_s=0)
    kept_after(1)
    kept_after(4)  # Copied into the same memory.
