"""A copy of what learns, and of what it learns from: its tensors stay in place for many trials."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import HeldWeighting, LearnedWeights
from tl_core.training.learners.net import NetLearner


def make_twin(learner: NetLearner) -> NetLearner:
    """Return a learner with tensors of its own; its fixed auxiliary weight can be changed."""
    scale, weighting = learner.scale, HeldWeighting(learner.labels.device)
    return replace(
        learner,
        model=copy.deepcopy(learner.model),
        labels=learner.labels.clone(),
        aux=learner.aux.clone(),
        scale=TargetScale(scale.mean.clone(), scale.spread.clone()),
        weighting=copy.deepcopy(learner.weighting) if _learns(learner) else weighting,
        class_weights=_clone(learner.class_weights),
        aux_weights=_clone(learner.aux_weights),
    )


def like(learner: NetLearner, twin: NetLearner) -> NetLearner:
    """Return the learner with the twin's tensors in place of its own."""
    return replace(
        learner,
        model=twin.model,
        labels=twin.labels,
        aux=twin.aux,
        scale=twin.scale,
        weighting=twin.weighting,
        class_weights=twin.class_weights,
        aux_weights=twin.aux_weights,
    )


def copy_values(learner: NetLearner, twin: NetLearner) -> None:
    """Give a twin all values of a learner of the same `shape_of`."""
    copy_learned(learner, twin)
    _copy(_given(learner), _given(twin))
    if isinstance(twin.weighting, HeldWeighting):
        weight = learner.weighting.aux_weight
        assert isinstance(weight, float)
        twin.weighting.hold(weight)


def copy_learned(source: NetLearner, target: NetLearner) -> None:
    """Copy what learns."""
    _copy(_learned(source), _learned(target))


def shape_of(learner: NetLearner) -> tuple[object, ...]:
    """What two learners with networks of one kind must share for a twin of both."""
    tensors = [*_learned(learner), *_given(learner)]
    shapes = tuple((t.shape, t.stride(), t.dtype) for t in tensors)
    has = (_learns(learner), learner.class_weights is None, learner.aux_weights is None)
    extra, gather = learner.extra, learner.gather
    return shapes, has, extra and extra.size, gather and id(gather.table)


def _learns(learner: NetLearner) -> bool:
    return isinstance(learner.weighting, LearnedWeights)


def _learned(learner: NetLearner) -> list[Tensor]:
    weights = (p for group in learner.weighting.groups() for p in group["params"])
    return [*learner.model.state_dict().values(), *weights]


def _given(learner: NetLearner) -> list[Tensor]:
    scale = learner.scale
    some = [learner.labels, learner.aux, scale.mean, scale.spread]
    return [*some, *(t for t in (learner.class_weights, learner.aux_weights) if t is not None)]


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for to, value in zip(target, source, strict=True):
        to.copy_(value)


def _clone(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
