"""The graph that a worker keeps from one trial to the next."""

import gc
import warnings
from collections.abc import Callable

import torch

from tl_core.config import TrialConfig
from tl_core.device import random_states, restore_random_states
from tl_core.errors import first_line
from tl_core.gpu_memory import is_out_of_memory, release_memory
from tl_core.inputs.resident import RESIDENT
from tl_core.training.learners.net import NetLearner
from tl_core.training.steps.captured import CapturedSteps, NotFiniteError
from tl_core.training.steps.cuda_graph import Capture, can_capture, capture
from tl_core.training.steps.twin import shape_of

_COPIED = {
    "lr", "head_lr_ratio", "schedule", "epochs", "min_steps",
    "train_ratio", "seed", "seeds", "split_seed",
}  # fmt: skip
"""What trials of one graph may differ in, beside a fixed auxiliary weight."""


class CaptureWarning(UserWarning):
    """Steps can't be recorded, so they are taken one by one, which changes speed alone."""


class StepGraphs:
    """Records the steps of networks, and keeps the last graph.

    It is kept until a trial of another shape comes, or memory is short; then it holds about the
    memory of a step, the weights and Adam's moments.
    """

    def __init__(
        self,
        capture: Capture = capture,
        can_capture: Callable[[torch.device], bool] = can_capture,
    ) -> None:
        self._capture, self._can_capture = capture, can_capture
        self._kept: tuple[object, CapturedSteps] | None = None
        self._refused: list[object] = []
        """What is not recorded again: it failed, or its graph was given up for memory."""
        self.recorded = 0
        """Graphs so far."""
        self.failure = ""
        """Why the last try to record one has failed, if it has."""

    def begin(
        self, learner: NetLearner, optimizer: torch.optim.Optimizer, config: TrialConfig
    ) -> CapturedSteps | None:
        """Return the steps of a trial, which begins or goes on after a checkpoint; None for none.

        None are recorded on a CPU and on GPUs that are not NVIDIA's; with `compile`, which launches
        less itself; in `fp16`, whose scaled loss may leave steps out; and with deterministic
        algorithms. If a record fails, a `CaptureWarning` says so, and trials like it are not
        recorded any more. Nor is one whose loss or gradients are not finite; its training says so.
        """
        if not self._suits(learner, config):
            return None
        key = _key(learner, config)
        if key in self._refused:
            return None
        if self._kept and self._kept[0] == key:
            self._kept[1].begin(learner, optimizer)
            return self._kept[1]
        self.drop()
        self.failure = ""
        try:
            steps = self._record(learner, optimizer, config)
        except NotFiniteError as error:
            self.failure = str(error)
            return None
        if isinstance(steps, str):
            self.failure = steps
            self._refuse(key, f"they can't be recorded as a graph: {steps}")
            _release(learner.labels.device)
            return None
        self.recorded += 1
        self._kept = key, steps
        return steps

    def drop(self) -> bool:
        """Give the graph up, for memory that is needed otherwise; return whether there was one."""
        had_one, self._kept = self._kept is not None, None
        return had_one

    def make_room(self, device: torch.device) -> bool:
        """Give the graph up for the trial that it is for; return whether there was one."""
        if self._kept is None:
            return False
        self._refuse(self._kept[0], "the GPU has no memory for their graph")
        self.drop()
        _release(device)
        return True

    def _refuse(self, key: object, why: str) -> None:
        self._refused.append(key)
        what = f"training steps are launched one by one, as {why}"
        warnings.warn(what, CaptureWarning, stacklevel=3)

    def _suits(self, learner: NetLearner, config: TrialConfig) -> bool:
        if config.compile or config.precision == "fp16":
            return False
        return self._can_capture(learner.labels.device)

    def _record(
        self, learner: NetLearner, optimizer: torch.optim.Optimizer, config: TrialConfig
    ) -> CapturedSteps | str:
        """Return the recorded steps, or why there are none."""
        device = learner.labels.device
        states = random_states(device)
        try:
            return CapturedSteps(learner, optimizer, config, self._capture)
        except NotFiniteError:
            raise
        except RuntimeError as error:
            if is_out_of_memory(error):
                return "the GPU has no memory for it"
            return first_line(error)
        finally:
            restore_random_states(device, states)


def _key(learner: NetLearner, config: TrialConfig) -> object:
    """What decides the operations of a step."""
    mode = "finetune" if config.mode == "lp_ft" else config.mode
    fixed = set() if config.aux_weight == "auto" else {"aux_weight"}
    described = config.model_dump(exclude=_COPIED | fixed | {"mode"})
    return mode, sorted(described.items()), shape_of(learner), learner.budget.full_batch


def _release(device: torch.device) -> None:
    gc.collect()
    release_memory(device)


GRAPHS = StepGraphs()
"""Those of this process."""
RESIDENT.holders.append(GRAPHS.drop)
