"""The steps of a trial's full batches as one recorded graph, over tensors that stay in place.

The network, the optimizer and the targets that the graph works on are copies. A trial's own values
are copied in at its start, and its weights back at its end: the next trial of the same shape needs
no other graph. What a step needs from the host lies in tables of many steps, of which the step
takes the row that a counter on the device says.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from tl_core.config import TrialConfig
from tl_core.device import random_states, restore_random_states, upload
from tl_core.training.learners.net import NetLearner
from tl_core.training.optimizers import make_optimizer
from tl_core.training.schedule import Batch
from tl_core.training.steps.cuda_graph import Capture, Work, rate_format
from tl_core.training.steps.twin import copy_learned, copy_values, like, make_twin

_AHEAD = 256
"""Steps whose views, rates and draws are uploaded at once."""
_MOST_APART = 0.3
"""Distance, as a share, between two steps by the graph and without. Rounding makes a thousandth, or
some hundredths where Adam's first step takes the sign of gradients near 0; a graph that leaves a
part of its work out is about 1 away."""


class CaptureError(RuntimeError):
    """A graph does not do what the same steps do without it."""


class NotFiniteError(RuntimeError):
    """A trial has diverged, so that its steps with and without a graph can't be compared."""


class CapturedSteps:
    """A network that learns full batches by a graph, and other batches without."""

    def __init__(
        self,
        learner: NetLearner,
        optimizer: torch.optim.Optimizer,
        config: TrialConfig,
        capture: Capture,
    ) -> None:
        """Copy a trial, which stays as it is, and record its steps; this takes random numbers.

        Args:
            learner: of the trial.
            optimizer: of the learner, by `make_optimizer`.
            config: that of the trial.
            capture: records.

        Raises:
            RuntimeError: of torch, if the steps can't be recorded.
            CaptureError: the graph does something else.
            NotFiniteError: the steps without it do not lead to finite numbers.
        """
        device = learner.labels.device
        states = random_states(device)
        self.learner = self._twin = make_twin(learner)
        self.optimizer = make_optimizer(self._twin.model, self._twin.weighting, config)
        self._gather, self._size = learner.gather, learner.budget.full_batch
        self._make_tables(learner)
        self.begin(learner, optimizer)
        batches = [b for b in learner.budget.batches(1, learner.order) if self._is_full(b)]
        batches = [batches[0], batches[-1]]
        self._twin.train_mode()
        self._upload(batches)
        self._fill(batches[0])
        self._replay = self._record(capture)
        found = []
        for step in (self._step, self._replay):
            restore_random_states(device, states)
            self.begin(learner, optimizer)
            found.append(self._try(step, batches, learner))
        _check(*found)
        self.begin(learner, optimizer)

    def begin(self, learner: NetLearner, optimizer: torch.optim.Optimizer) -> None:
        """Go on with a trial of the same shape, from its weights and its optimizer's state."""
        copy_values(learner, self._twin)
        self.learner = like(learner, self._twin)
        for group, given in zip(self._groups, optimizer.param_groups, strict=True):
            group["initial_lr"] = given["initial_lr"]
            for p, own in zip(group["params"], given["params"], strict=True):
                state = optimizer.state.get(own)
                # What gets no gradient has no state.
                for name, value in self.optimizer.state.get(p, {}).items():
                    value.copy_(state[name]) if state else value.zero_()
        highest = np.array([group["initial_lr"] for group in self._groups])
        self._highest.copy_(upload(highest, self._highest.device))

    def end(self, learner: NetLearner) -> None:
        """Give the trial what it has learned."""
        copy_learned(self._twin, learner)

    def take(self, batches: Iterable[Batch], sums: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Take the steps of the trial that has begun, as `TakeSteps`."""
        self._sums.copy_(sums.expand_as(self._sums))
        batches = [*batches]
        for start in range(0, len(batches), _AHEAD):
            some = batches[start : start + _AHEAD]
            self._upload(some)
            for batch in some:
                if self._is_full(batch):
                    self._fill(batch)
                    self._replay()
                else:
                    self._step_without(batch)
                yield len(batch[1]), self._sums

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def _make_tables(self, learner: NetLearner) -> None:
        device, extra = learner.labels.device, learner.extra
        self._width = self._size + (extra.size if extra else 0)
        self._by_place = learner.shares([self._size])
        self._at = torch.zeros(1, dtype=torch.int64, device=device)
        """The row of the next step."""
        self._views = torch.zeros(_AHEAD, self._width, dtype=torch.int64, device=device)
        self._drawn: Tensor | None = None
        if self._gather and self._gather.draw:
            drawn = np.stack([self._gather.draw(self._width, 0)] * _AHEAD)
            self._drawn = upload(drawn, device)
        self._inputs: tuple[Tensor, Tensor | None] | None = None
        """Of the next step, where they come from the host."""
        self._rates = torch.zeros(_AHEAD, dtype=torch.float64, device=device)
        self._highest = torch.zeros(len(self._groups), dtype=torch.float64, device=device)
        self._lrs = torch.zeros(len(self._groups), dtype=rate_format(device), device=device)
        for group, lr in zip(self._groups, self._lrs, strict=True):
            group["lr"] = lr
        zero = torch.zeros((), device=device)
        n_parts = len(self._twin.weighting.parts(zero, (zero, zero)))
        self._sums = torch.zeros(n_parts + 1, device=device)

    def _is_full(self, batch: Batch) -> bool:
        return len(batch[1]) == self._size

    def _upload(self, batches: Sequence[Batch]) -> None:
        """Fill the tables with what steps need, the first ones of them."""
        rates, views = np.zeros(_AHEAD), np.zeros(self._views.shape, np.int64)
        gather = self.learner.gather
        drawn = None if self._drawn is None else np.zeros(self._drawn.shape, np.float32)
        for row, batch in enumerate(batches):
            number, some, rates[row] = batch
            if not self._is_full(batch):
                continue
            views[row] = self.learner.with_extra(some, number)
            if drawn is not None and gather and gather.draw:
                drawn[row] = gather.draw(self._width, number)
        device = self._at.device
        self._rates.copy_(upload(rates, device))
        self._views.copy_(upload(views, device))
        if self._drawn is not None and drawn is not None:
            self._drawn.copy_(upload(drawn, device))
        self._at.zero_()

    def _fill(self, batch: Batch) -> None:
        """Bring the inputs of a step from the host, where it is there that they are."""
        if self._gather:
            return
        number, views, _ = batch
        given = self.learner.training_inputs(self.learner.with_extra(views, number), number)
        if self._inputs is None:
            self._inputs = given
        for place, value in zip(self._inputs, given, strict=True):
            if place is not None and value is not None:
                place.copy_(value)

    def _step(self) -> None:
        """Take the step of the present row: what the graph repeats."""
        views = self._views.index_select(0, self._at)[0]
        if self._inputs:
            inputs, brightness = self._inputs
        else:
            assert self._gather
            drawn = None if self._drawn is None else self._drawn.index_select(0, self._at)[0]
            inputs, brightness = self._gather.run(views, drawn)
        targets = self._twin.targets_at(views % len(self._twin.labels), self._by_place)
        self._set_rates()
        given = (inputs, brightness, targets, self.optimizer, self._size)
        self._sums.add_(self._twin.learn(*given))
        self._at.add_(1)

    def _step_without(self, batch: Batch) -> None:
        """Take the step of the present row without the graph."""
        number, views, _ = batch
        self._set_rates()
        self._sums.add_(self.learner.step(views, self.optimizer, number))
        self._at.add_(1)

    def _set_rates(self) -> None:
        self._lrs.copy_(self._highest * self._rates.index_select(0, self._at))

    def _record(self, capture: Capture) -> Work:
        with warnings.catch_warnings():
            # Before the record, the optimizer steps without one.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
            warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
            for group in self._groups:
                group["capturable"] = True
            replay = capture(self._step, self._at.device)
        for group in self._groups:
            group["capturable"] = False
        self.optimizer.zero_grad(set_to_none=True)  # The graph has gradients of its own.
        return replay

    def _try(self, step: Work, batches: Sequence[Batch], learner: NetLearner) -> list[list[Tensor]]:
        """Take some steps; return what they add up to, Adam's means and how far weights went."""
        self._upload(batches)
        self._sums.zero_()
        for batch in batches:
            self._fill(batch)
            step()
        sums = [self._sums.clone(), self._at.float()]
        means = [state["exp_avg"].clone() for state in self.optimizer.state.values()]
        both = zip(self._twin.model.parameters(), learner.model.parameters(), strict=True)
        return [sums, means, [(new - old).detach() for new, old in both]]


def _check(without: list[list[Tensor]], by_graph: list[list[Tensor]]) -> None:
    names = ("the losses", "the gradients", "the weights")
    for name, expected, found in zip(names, without, by_graph, strict=True):
        apart = get_total_norm([a - b for a, b in zip(expected, found, strict=True)])
        size = get_total_norm(expected)
        if not size.isfinite():
            raise NotFiniteError(f"{name} of a step are not finite")
        if not apart <= _MOST_APART * size:
            raise CaptureError(f"{name} of a recorded step are not those of the same step without")
