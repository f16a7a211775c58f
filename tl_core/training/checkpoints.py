"""The state of a trial between two epochs: one that is cut loses at most one epoch."""

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
    """A file that holds no state, or not that of the trial at hand."""


class CheckpointWarning(UserWarning):
    """A checkpoint that is of no use: its trial starts anew."""


class CheckpointStore(Protocol):
    """Where the checkpoint of one trial is kept; as text, what messages call it."""

    def read(self) -> bytes:
        """Return what was written last; raises `FileNotFoundError` if nothing was."""

    def write(self, content: bytes) -> None:
        """Replace it so that neither a kill nor a power cut leaves half; on return it is safe.

        Raises `OSError` if that can't be; then what was there is there still.
        """


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine; its folder is made if it isn't there."""

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
    """The state of one trial, and what an earlier run left of it."""

    def __init__(self, place: CheckpointStore, identity: State) -> None:
        """Read what is there.

        A `CheckpointWarning` tells of one that is damaged or another trial's; it counts as none.

        Args:
            place: where it is kept.
            identity: plain values that decide the trial's numbers.
        """
        self._place, self._identity = place, identity
        self._left = self._read()

    @property
    def resumes(self) -> bool:
        """Whether there is a state to go on from."""
        return self._left is not None

    def restore(self, learner: Learner, optimizer: torch.optim.Optimizer) -> list[EpochMetrics]:
        """Put both, and torch's generators, where the earlier run left them; return its history."""
        left, self._left = self._left, None  # Let go of: it takes three times the net's memory.
        if left is None:
            return []
        learner.model.load_state_dict(left["model"])
        with torch.no_grad():
            for parameter, value in zip(_weights_of_tasks(learner), left["weighting"], strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(left["optimizer"])
        _set_random_state(left["random"], learner.labels.device)
        return [EpochMetrics(**metrics) for metrics in left["history"]]

    def save(
        self, learner: Learner, optimizer: torch.optim.Optimizer, history: list[EpochMetrics]
    ) -> None:
        """Keep the state after the last epoch of `history`; on return it is safe."""
        state = {
            "identity": self._identity,
            "model": learner.model.state_dict(),
            "weighting": _weights_of_tasks(learner),
            "optimizer": optimizer.state_dict(),
            "random": _random_state(learner.labels.device),
            "history": [asdict(metrics) for metrics in history],
        }
        save_checkpoint(self._place, state)

    def _read(self) -> State | None:
        try:
            state = load_checkpoint(self._place)
            self._check_identity(state)
        except FileNotFoundError:
            return None
        except CheckpointError as error:
            warnings.warn(f"{error}; the trial starts anew", CheckpointWarning, stacklevel=2)
            return None
        return state

    def _check_identity(self, state: State) -> None:
        here, there = self._identity, state.get("identity", {})
        apart = [
            f"{name} is {there.get(name)!r} and not {here.get(name)!r}"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]
        if apart:
            what = f"checkpoint {self._place} is another trial's"
            raise CheckpointError(f"{what}: {', '.join(apart)}")


def save_checkpoint(place: CheckpointStore, state: State) -> None:
    """Keep tensors and plain values: the SHA-256 of what follows, 32 bytes, then `torch.save`'s.

    Raises:
        OSError: the disk is full, or the place can't be written to; an earlier state stays.
    """
    buffer = io.BytesIO(bytes(_DIGEST_BYTES))
    buffer.seek(_DIGEST_BYTES)
    torch.save(state, buffer)
    content = buffer.getbuffer()
    content[:_DIGEST_BYTES] = hashlib.sha256(content[_DIGEST_BYTES:]).digest()
    place.write(bytes(content))


def load_checkpoint(place: CheckpointStore) -> State:
    """Read what `save_checkpoint` kept, to the CPU; runs no code, whatever there is.

    Raises:
        CheckpointError: it is truncated, changed or not a checkpoint.
        FileNotFoundError: there is none.
    """
    content = place.read()
    digest, rest = content[:_DIGEST_BYTES], memoryview(content)[_DIGEST_BYTES:]
    if hashlib.sha256(rest).digest() != digest:
        raise CheckpointError(
            f"checkpoint {place} is damaged: its content has not the SHA-256 that it begins with"
        )
    try:
        state = torch.load(io.BytesIO(rest), map_location="cpu", weights_only=True)
    except Exception as error:  # A foreign file makes the reader raise nearly anything.
        raise CheckpointError(
            f"checkpoint {place} holds more than tensors and plain values ({type(error).__name__})"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {place} holds no state: {type(state).__name__}")
    return state


def _weights_of_tasks(learner: Learner) -> list[Tensor]:
    """What the weighting learns; it is no part of the model."""
    return [p.detach() for group in learner.weighting.groups() for p in group["params"]]


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
