"""The state of a trial between two epochs, on disk: one that is cut loses at most one epoch."""

import hashlib
import io
import os
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tl_core.epoch import EpochMetrics
from tl_core.learners import Learner

State = dict[str, Any]
"""Tensors and plain values: what can be read without running code."""

_DIGEST_BYTES = hashlib.sha256().digest_size


class CheckpointError(ValueError):
    """A file that holds no state, or not that of the trial at hand."""


class CheckpointWarning(UserWarning):
    """A checkpoint that is of no use: its trial starts anew."""


class Checkpoint:
    """The file of one trial, and the state that an earlier run left in it."""

    def __init__(self, path: Path, identity: State) -> None:
        """Read the file, if it is there.

        A `CheckpointWarning` tells of one that is damaged or another trial's; it counts as none.

        Args:
            path: the file; its folder is made if it isn't there.
            identity: plain values that decide the trial's numbers.
        """
        self._path, self._identity = path, identity
        self._left = self._read() if path.exists() else None

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
        """Write the state after the last epoch of `history`; on return it is on the disk."""
        state = {
            "identity": self._identity,
            "model": learner.model.state_dict(),
            "weighting": _weights_of_tasks(learner),
            "optimizer": optimizer.state_dict(),
            "random": _random_state(learner.labels.device),
            "history": [asdict(metrics) for metrics in history],
        }
        save_checkpoint(self._path, state)

    def _read(self) -> State | None:
        try:
            state = load_checkpoint(self._path)
            self._check_identity(state)
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
            raise CheckpointError(f"checkpoint {self._path} is another trial's: {', '.join(apart)}")


def save_checkpoint(path: Path, state: State) -> None:
    """Write tensors and plain values so that neither a kill nor a power cut leaves half a file.

    The file is the SHA-256 of what follows, 32 bytes, and then what `torch.save` makes of `state`.

    Raises:
        OSError: the disk is full, or the folder can't be written to; an earlier file stays.
    """
    # Into memory first: on its way through torch's writer an OSError becomes a riddle.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.fresh")
    try:
        with fresh.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)  # A full disk needs the room.
    _sync_folder(path.parent)


def load_checkpoint(path: Path) -> State:
    """Read what `save_checkpoint` wrote, to the CPU; runs no code, whatever the file holds.

    Raises:
        CheckpointError: the file is truncated, changed or not a checkpoint.
    """
    with path.open("rb") as file:
        digest = file.read(_DIGEST_BYTES)
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise CheckpointError(
                f"checkpoint {path} is damaged: its content has not the SHA-256 that it begins with"
            )
        file.seek(_DIGEST_BYTES)
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # A foreign file makes the reader raise nearly anything.
            raise CheckpointError(
                f"checkpoint {path} holds more than tensors and plain values "
                f"({type(error).__name__})"
            ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {path} holds no state: {type(state).__name__}")
    return state


def _sync_folder(folder: Path) -> None:
    """Have the disk know of a file's new name, too; only POSIX can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
