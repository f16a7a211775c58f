"""The state of a trial between two steps: an interrupted trial loses at most a minute.

The state is copied to the host, which takes milliseconds, and a thread writes the copy while the
trial goes on.
"""

import hashlib
import io
import threading
import time
import warnings
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from tl_core.config import EpochMetrics
from tl_core.device import CopyEvent, copy_to_host, host_like, random_states, restore_random_states
from tl_core.training.learners.net import NetLearner, Part

Content = bytes | memoryview
State = dict[str, Any]
"""Tensors and plain values: what can be read without running code."""

EVERY_S = 30.0
"""Seconds between two states, from copy to copy. A kill loses these, and the time of a write."""
_DIGEST_BYTES = hashlib.sha256().digest_size


class CheckpointError(ValueError):
    """A file that is no checkpoint, or the checkpoint of another trial."""


class CheckpointWarning(UserWarning):
    """A checkpoint can't be used, so its trial starts from the beginning."""


class CheckpointStore(Protocol):
    """Where the checkpoint of one trial is kept; `str` of it is its name in messages."""

    def read(self) -> bytes:
        """Return what was written last; raises `FileNotFoundError` if nothing was."""

    def write(self, content: Content) -> None:
        """Replace the content; after a kill or a power cut it is the old or the new one, whole.

        On return the new content is on disk. Raises `OSError` if it can't be written; then the
        old content stays.
        """


class Checkpoint:
    """Saves the state of one trial, and restores the state that an earlier run saved.

    As a context it waits at its end for the state that is being written, and raises the `OSError`
    of one that could not be written.
    """

    def __init__(self, store: CheckpointStore, identity: State, every_s: float = EVERY_S) -> None:
        """Read the state that the store holds.

        A damaged state, or one of another trial, counts as none; a `CheckpointWarning` says so.

        Args:
            store: where the state is kept.
            identity: plain values that decide the trial's numbers.
            every_s: seconds from one state that is saved to the next.
        """
        self._store, self._identity, self._every_s = store, identity, every_s
        self._saved_at = time.monotonic()
        self._copies: dict[str, Tensor] = {}
        """On the host, by their place in the state; each state is copied into the same memory."""
        self._writer: threading.Thread | None = None
        self._error: Exception | None = None
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

    def restore(
        self, learner: NetLearner, optimizer: torch.optim.Optimizer
    ) -> tuple[list[EpochMetrics], Part]:
        """Restore both, and torch's random generators.

        Returns:
            The epochs before, and the steps that were taken after the last of them.
        """
        state, self._state = self._state, None  # Released: it is three times as large as the net.
        if state is None:
            return [], Part()
        learner.model.load_state_dict(state["model"])
        with torch.no_grad():
            for parameter, value in zip(_task_weights(learner), state["weighting"], strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        restore_random_states(learner.labels.device, state["random"])
        learner.scaler.load_state_dict(state["scaler"])
        part = Part(**state["part"])
        return [EpochMetrics.read(metrics) for metrics in state["history"]], part

    def save_if_due(
        self,
        learner: NetLearner,
        optimizer: torch.optim.Optimizer,
        history: list[EpochMetrics],
        part: Part,
    ) -> None:
        """Save the state after `history` and `part`, if the last one is old enough and written.

        On return it is copied; a thread writes it.

        Raises:
            OSError: the last state could not be written; an earlier one stays.
        """
        if self._writer and self._writer.is_alive():
            return
        if self._error:
            raise self._error
        if time.monotonic() - self._saved_at < self._every_s:
            return
        self._saved_at = time.monotonic()
        state = {
            "identity": self._identity,
            "model": learner.model.state_dict(),
            "weighting": _task_weights(learner),
            "optimizer": optimizer.state_dict(),
            "random": random_states(learner.labels.device),
            "history": [metrics.plain() for metrics in history],
            "scaler": learner.scaler.state_dict(),
            "part": vars(part),
        }
        copy = self._to_host(state, "")
        copied = CopyEvent(learner.labels.device)
        # A process that ends does not wait for it: the store keeps the earlier state.
        self._writer = threading.Thread(target=self._write, args=(copy, copied), daemon=True)
        self._writer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        # Else it would be written after the caller has deleted it.
        if self._writer:
            self._writer.join()
        if self._error and error is None:
            raise self._error

    def _to_host(self, value: Any, place: str) -> Any:
        """Copy the tensors of a state, as `copy_to_host` does."""
        if isinstance(value, dict):
            return {key: self._to_host(v, f"{place}/{key}") for key, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._to_host(v, f"{place}/{i}") for i, v in enumerate(value))
        if not isinstance(value, Tensor):
            return value
        value = value.detach()
        if place not in self._copies:
            self._copies[place] = host_like(value)
        return copy_to_host(value, self._copies[place])

    def _write(self, state: State, copied: CopyEvent) -> None:
        try:
            copied.wait()
            save_checkpoint(self._store, state)
        except Exception as error:  # The trial's own thread raises it.
            self._error = error

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
    store.write(content)


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


def _task_weights(learner: NetLearner) -> list[Tensor]:
    """What the weighting learns; it is not part of the model."""
    return [p.detach() for group in learner.weighting.groups() for p in group["params"]]
