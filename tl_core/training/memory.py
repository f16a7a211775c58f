"""What follows when what learns does not fit a GPU beside what is kept there, or at all.

For a network, the error names the batch size that does.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from tl_core.errors import WAYS_OUT, GpuMemoryError
from tl_core.gpu_memory import is_out_of_memory, release_memory
from tl_core.inputs.batches import split_batches
from tl_core.inputs.resident import RESIDENT
from tl_core.training.learners.net import NetLearner
from tl_core.training.optimizers import decayed, fused_adamw
from tl_core.training.steps.graphs import StepGraphs

OF_HEADS = "for heads on cached features"
"""What the memory is too small for, of frozen trials."""
Result = TypeVar("Result")


class RoomMadeError(RuntimeError):
    """A GPU's memory was too small for a network beside tables, which have been given up."""


def explain_oom(
    learner: NetLearner, work: Callable[[], Result], graphs: StepGraphs | None = None
) -> Result:
    """Return what `work` returns; it trains the learner, whose weights are lost if it fails.

    Raises:
        RoomMadeError: the GPU's memory is too small, and a graph or tables of the data set were on
            it. Now the graph is not, or they are not: the trial can be trained again.
        GpuMemoryError: the GPU's memory is too small. Names the largest half, quarter, ... of the
            batch size that fits.
    """
    learner.train_mode()  # Scoring switches it off: this tells which of the two ran out of memory.
    try:
        return work()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        # The frames of the traceback hold the tensors of the step that was too large.
        cause = error.with_traceback(None)
    # Outside of the handler, where Python no longer holds the error and its tensors.
    if _make_room(learner.labels.device, graphs):
        raise RoomMadeError from cause
    raise GpuMemoryError(_advice(learner)) from cause


def retry_with_room(
    work: Callable[[], Result],
    device: torch.device,
    graphs: StepGraphs | None = None,
    what: str = "before the first step or after the last",
) -> Result:
    """Return what `work` returns; do it again each time that room was made for it on the GPU.

    Args:
        work: may raise `RoomMadeError`.
        device: where it runs.
        graphs: those that the work records; the one of this process goes with the tables otherwise.
        what: part of the message: when or for what the memory is too small. The default is what
            `explain_oom` does not hear of: the weights, the heads that are solved before, and the
            test scores.

    Raises:
        GpuMemoryError: the memory is too small.
    """
    while True:
        cause = None
        try:
            return work()
        except RoomMadeError:
            pass  # Again outside of the handler, where nothing holds the error's tensors.
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            cause = error.with_traceback(None)
        if cause and not _make_room(device, graphs):
            raise GpuMemoryError(f"out of GPU memory {what}: choose {WAYS_OUT}") from cause


def _make_room(device: torch.device, graphs: StepGraphs | None) -> bool:
    """Give up the graph, else the tables on the GPU; return whether there were any."""
    if graphs is not None and graphs.make_room(device):
        return True
    had_some = RESIDENT.drop()
    gc.collect()  # What the graph of another trial worked on.
    release_memory(device)
    return had_some


def _advice(learner: NetLearner) -> str:
    if not learner.model.training:
        return f"out of GPU memory when it scores one image: choose {WAYS_OUT}"
    problem = f"out of GPU memory at --batch-size {learner.budget.batch_size}"
    size = learner.budget.batch_size // 2
    while size and not _fits(learner, size):
        size //= 2
    if not size:
        return f"{problem}, and not even 1 fits: choose {WAYS_OUT}"
    return f"{problem}; {size} fits, or choose {WAYS_OUT}"


def _fits(learner: NetLearner, batch_size: int) -> bool:
    """Whether the memory suffices for steps of the largest batch that this size leads to."""
    learner.model.zero_grad(set_to_none=True)
    gc.collect()
    release_memory(learner.labels.device)
    views = max(split_batches(learner.order(1), batch_size), key=len)
    if learner.extra:  # A step sees as many of these as of the others.
        learner = replace(learner, extra=replace(learner.extra, batch_size=batch_size))
    learner.train_mode()
    groups = decayed(learner.model.parameters(), lr=0.0, weight_decay=0.0)
    optimizer = fused_adamw([*groups, *learner.weighting.groups()])
    try:
        for number in range(2):  # The first makes the optimizer's state, which the second holds.
            learner.step(views, optimizer, number)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
