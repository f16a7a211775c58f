"""The error when a network that learns does not fit a GPU: it names the batch size that does."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from tl_core.device import release_memory
from tl_core.errors import GpuMemoryError
from tl_core.inputs.batches import split_batches
from tl_core.training.learners import NetLearner
from tl_core.training.optimizers import decayed, fused_adamw

Result = TypeVar("Result")

_WAYS_OUT = "a smaller --image-size or --backbone, or fewer --trials-per-gpu"


def explain_oom(learner: NetLearner, work: Callable[[], Result]) -> Result:
    """Return what `work` returns; it trains the learner, whose weights are lost if it fails.

    Raises:
        GpuMemoryError: the GPU's memory is too small. Names the largest half, quarter, ... of the
            batch size that fits.
    """
    learner.train_mode()  # Scoring switches it off: this tells which of the two ran out of memory.
    try:
        return work()
    except torch.OutOfMemoryError as error:
        # The frames of the traceback hold the tensors of the step that was too large.
        cause = error.with_traceback(None)
    # Outside of the handler, where Python no longer holds the error and its tensors.
    raise GpuMemoryError(_advice(learner)) from cause


def _advice(learner: NetLearner) -> str:
    if not learner.model.training:
        at = f"when it scores up to {learner.eval_batch} images at once, whatever the --batch-size"
        return f"out of GPU memory {at}: choose {_WAYS_OUT}"
    problem = f"out of GPU memory at --batch-size {learner.budget.batch_size}"
    size = learner.budget.batch_size // 2
    while size and not _fits(learner, size):
        size //= 2
    if not size:
        return f"{problem}, and not even 1 fits: choose {_WAYS_OUT}"
    return f"{problem}; {size} fits, or choose {_WAYS_OUT}"


def _fits(learner: NetLearner, batch_size: int) -> bool:
    """Whether the memory suffices for a step of the largest batch that this size leads to."""
    learner.model.zero_grad(set_to_none=True)
    gc.collect()
    release_memory(learner.labels.device)
    views = max(split_batches(learner.order(1), batch_size), key=len)
    learner.train_mode()
    groups = decayed(learner.model.parameters(), lr=0.0, weight_decay=0.0)
    try:
        learner.step(views, fused_adamw([*groups, *learner.weighting.groups()]))
    except torch.OutOfMemoryError:
        return False
    return True
