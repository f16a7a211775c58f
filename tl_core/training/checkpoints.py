"""The state of a trial between two epochs: an interrupted trial loses at most one epoch."""

import hashlib
import io
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from tl_core.config import EpochMetrics
from tl_core.files import replace_file
from tl_core.training.learners import Learner

State = dict[str, Any]
"""Tensors and plain values: what can be read without running code."""

_DIGEST_BYTES = hashlib.sha256().digest_size


class CheckpointError(ValueError):
    """A file that is no checkpoint, or the checkpoint of another trial."""


class CheckpointWarning(UserWarning):
    """A checkpoint can't be used, so its trial starts from the beginning."""


class CheckpointStore(Protocol):
    """Where the checkpoint of one trial is kept; `str` of it is its name in messages."""

    def read(self) -> bytes:
        """Return what was written last; raises `FileNotFoundError` if nothing was."""

    def write(self, content: bytes) -> None:
        """Replace the content; after a kill or a power cut it is the old or the new one, whole.

        On return the new content is on disk. Raises `OSError` if it can't be written; then the
        old content stays.
        """


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine; its folder is made if it does not exist."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> bytes:
        """Return its content."""
        return self.path.read_bytes()

    def write(self, content: bytes) -> None:
        """Replace it whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, content, alone=True)


class Checkpoint:
    """Saves the state of one trial, and restores the state that an earlier run saved."""

    def __init__(self, store: CheckpointStore, identity: State) -> None:
        """Read the state that the store holds.

        A damaged state, or one of another trial, counts as none; a `CheckpointWarning` says so.

        Args:
            store: where the state is kept.
            identity: plain values that decide the trial's numbers.
        """
        self._store, self._identity = store, identity
        self._state: State | None = None
        try:
            state = load_checkpoint(store)
            self._check_identity(state)
            self._state = state
        except FileNotFoundError:
            pass
        except CheckpointError as error:
            warnings.warn(f"{error}; the trial starts anew", CheckpointWarning, stacklevel=2)

    @property
    def resumes(self) -> bool:
        """Whether there is a state to continue from."""
        return self._state is not None

    def restore(self, learner: Learner, optimizer: torch.optim.Optimizer) -> list[EpochMetrics]:
        """Restore both, and torch's random generators; return the epochs before."""
        state, self._state = self._state, None  # Released: it is three times as large as the net.
        if state is None:
            return []
        learner.model.load_state_dict(state["model"])
        with torch.no_grad():
            for parameter, value in zip(_task_weights(learner), state["weighting"], strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"]["cpu"])
        if learner.labels.is_cuda:
            torch.cuda.set_rng_state(state["random"]["cuda"], learner.labels.device)
        return [EpochMetrics(**metrics) for metrics in state["history"]]

    def save(
        self, learner: Learner, optimizer: torch.optim.Optimizer, history: list[EpochMetrics]
    ) -> None:
        """Save the state after the last epoch of `history`; on return it is on disk."""
        random = {"cpu": torch.get_rng_state()}
        if learner.labels.is_cuda:
            random["cuda"] = torch.cuda.get_rng_state(learner.labels.device)
        state = {
            "identity": self._identity,
            "model": learner.model.state_dict(),
            "weighting": _task_weights(learner),
            "optimizer": optimizer.state_dict(),
            "random": random,
            "history": [asdict(metrics) for metrics in history],
        }
        save_checkpoint(self._store, state)

    def _check_identity(self, state: State) -> None:
        here, there = self._identity, state.get("identity", {})
        differences = [
            f"{name} is {there.get(name)!r} and not {here.get(name)!r}"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]
        if differences:
            what = f"checkpoint {self._store} is another trial's"
            raise CheckpointError(f"{what}: {', '.join(differences)}")


def save_checkpoint(store: CheckpointStore, state: State) -> None:
    """Save tensors and plain values: 32 bytes of SHA-256, then what it hashes, by `torch.save`.

    Raises:
        OSError: the disk is full, or the store can't be written to; an earlier state stays.
    """
    buffer = io.BytesIO(bytes(_DIGEST_BYTES))
    buffer.seek(_DIGEST_BYTES)
    torch.save(state, buffer)
    content = buffer.getbuffer()
    content[:_DIGEST_BYTES] = hashlib.sha256(content[_DIGEST_BYTES:]).digest()
    store.write(bytes(content))


def load_checkpoint(store: CheckpointStore) -> State:
    """Load what `save_checkpoint` saved, to the CPU; runs no code, whatever the store holds.

    Raises:
        CheckpointError: it is truncated, changed or not a checkpoint.
        FileNotFoundError: there is none.
    """
    content = store.read()
    digest, rest = content[:_DIGEST_BYTES], memoryview(content)[_DIGEST_BYTES:]
    if hashlib.sha256(rest).digest() != digest:
        raise CheckpointError(
            f"checkpoint {store} is damaged: its content does not match the SHA-256 at its start"
        )
    try:
        state = torch.load(io.BytesIO(rest), map_location="cpu", weights_only=True)
    except Exception as error:  # The reader may raise any error on a foreign file.
        raise CheckpointError(
            f"checkpoint {store} holds more than tensors and plain values ({type(error).__name__})"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {store} holds no state: {type(state).__name__}")
    return state


def _task_weights(learner: Learner) -> list[Tensor]:
    """What the weighting learns; it is not part of the model."""
    return [p.detach() for group in learner.weighting.groups() for p in group["params"]]
