"""What to tell when a GPU is too small for a network that learns: the batch size that fits."""

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from tl_core.errors import GpuMemoryError
from tl_core.training.batches import split_batches
from tl_core.training.fit import make_optimizer
from tl_core.training.learners import NetLearner

Result = TypeVar("Result")

_LESS = "a smaller --image-size or --backbone, or fewer --trials-per-gpu"


def explain_oom(learner: NetLearner, work: Callable[[], Result]) -> Result:
    """Return what `work` returns; it trains the learner, whose weights are lost if it fails.

    Raises:
        GpuMemoryError: the GPU's memory was not enough. Names the largest half, quarter, ... of
            the batch size that is.
    """
    learner.model.train()  # Until it is scored: by this the two kinds of failure are told apart.
    try:
        return work()
    except torch.OutOfMemoryError as error:
        # The frames of the traceback hold the tensors of the step that was too large.
        cause = error.with_traceback(None)
    # Here, where Python no longer handles that error, and so holds on to nothing of it.
    raise GpuMemoryError(_advice(learner)) from cause


def _advice(learner: NetLearner) -> str:
    if not learner.model.training:
        at = f"when it scores up to {learner.eval_batch} images at once, whatever the --batch-size"
        return f"out of GPU memory {at}: choose {_LESS}"
    told = f"out of GPU memory at --batch-size {learner.batch_size}"
    fitting = next((size for size in _halves(learner.batch_size) if _fits(learner, size)), None)
    if fitting is None:
        return f"{told}, and not even 1 fits: choose {_LESS}"
    return f"{told}; {fitting} fits, or choose {_LESS}"


def _halves(batch_size: int) -> Iterator[int]:
    while batch_size := batch_size // 2:
        yield batch_size


def _fits(learner: NetLearner, batch_size: int) -> bool:
    """Whether there is memory for a step of the largest batch that this size brings."""
    _free(learner)
    views = max(split_batches(learner.order(1), batch_size), key=len)
    learner.model.train()
    try:
        learner.step(views, make_optimizer(learner, lr=0))
    except torch.OutOfMemoryError:
        return False
    return True


def _free(learner: NetLearner) -> None:
    learner.model.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()
