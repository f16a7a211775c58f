"""One trial: from a TrialConfig and an ImageSet to metrics of each epoch and a trained net.

`run_trial` is one function of plain values that reports through a callback; it knows no tuner.
"""

import copy
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tl_core.config import FROZEN, EpochMetrics, Report, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import Split
from tl_core.files import user_path
from tl_core.inputs.augment import make_augment
from tl_core.inputs.batches import epoch_order, eval_batch
from tl_core.inputs.prefix import activation_reader, cut_backbone, load_activations
from tl_core.inputs.readers import Read, augmented_reader, pixel_reader
from tl_core.models.backbones import Backbone
from tl_core.models.heads import TwoHeadedNet
from tl_core.objectives.outputs import Outputs
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import make_weighting
from tl_core.runtime import PRIVATE_OPTIONS, use_private_cache
from tl_core.text import pluralize
from tl_core.training.checkpoints import EVERY_S, Checkpoint, CheckpointStore
from tl_core.training.fit import fit, score_test
from tl_core.training.learners.net import NetLearner
from tl_core.training.memory import OF_HEADS, explain_oom, retry_with_room
from tl_core.training.schedule import Budget
from tl_core.training.setup import Inputs, TrialSetup, needs_features
from tl_core.training.steps.graphs import GRAPHS, StepGraphs
from tl_core.training.sweep import solve_heads, sweep_from


@dataclass(frozen=True)
class TrialResult:
    """A finished trial."""

    history: tuple[EpochMetrics, ...]
    net: TwoHeadedNet
    backbone: Backbone
    split: Split
    test: dict[str, float]
    """`test_accuracy` and the other test scores; empty unless the test set was read."""
    outputs: dict[str, Outputs]
    """On `val` and `test`, [S, ...] of S > 1 seeds; empty unless the test set was read."""
    warnings: tuple[str, ...]
    predicted: Outputs | None = None
    """Of a frozen trial: what its first seed says of the test set if it was read, else of
    validation, from the cached features: [N, K] and [N]. A network that learned has to run."""


def run_trial(
    config: TrialConfig,
    images: ImageSet,
    cache: str | Path,
    device: torch.device,
    report: Report = lambda _: None,
    read_test: bool = False,
    checkpoint: CheckpointStore | None = None,
    verify: bool = True,
    checkpoint_every: float = EVERY_S,
    graphs: StepGraphs | None = GRAPHS,
) -> TrialResult:
    """Train one configuration; the last epoch is the one that counts.

    `freeze` trains the heads of `config.seeds` seeds on cached features, all at once, and reports
    their means; `probe` solves them. `lp_ft` (Kumar et al., ICLR 2022) and `partial` start from the
    probe of their seed.

    Args:
        config: what to train.
        images: the decoded data set, as the configuration's `image_size` and `resize` say.
        cache: folder of the feature cache.
        device: where the net learns.
        report: called `config.epochs` times, after equal parts of the steps.
        read_test: score the test set at the end. Off while a study searches: configurations are
            chosen on validation.
        checkpoint: where a trial that trains a network keeps its state. If there is a state, the
            trial reports its epochs again and continues after the last step, on a CPU to the same
            numbers. A damaged state, or that of another trial, is replaced, with a
            `CheckpointWarning`. The caller deletes the state once it has recorded the result.
        verify: check the hash of cached features before use; a study does so for its workers.
        checkpoint_every: seconds from one state that is saved to the next.
        graphs: record the steps of a network, as one graph each on GPUs of NVIDIA; None to take
            them one by one.

    Raises:
        InputError: a class would be missing from a split, or the images have another size, resize
            or auxiliary task than the configuration.
        BackboneError: the backbone is unknown, or its weights are unavailable.
        DivergedError: a metric is not finite; names it and the epoch.
        GpuMemoryError: the trial does not fit the GPU; for a network that learns, names the batch
            size that does, if any.
        OSError: the checkpoint can't be written.
    """
    inputs = Inputs(images, user_path(cache), device, verify)
    reported = set[int]()

    def report_once(metrics: EpochMetrics) -> None:
        if metrics.epoch not in reported:
            reported.add(metrics.epoch)
            report(metrics)

    given = (config, inputs, report_once, read_test)
    if config.mode in FROZEN:
        return retry_with_room(partial(_run_frozen, *given), device, what=OF_HEADS)
    run = partial(_run_network, *given, checkpoint, checkpoint_every, graphs)
    return retry_with_room(run, device, graphs)


def _run_network(
    config: TrialConfig,
    inputs: Inputs,
    report: Report,
    read_test: bool,
    checkpoint: CheckpointStore | None,
    checkpoint_every: float,
    graphs: StepGraphs | None,
) -> TrialResult:
    setup = TrialSetup(config, inputs)
    kept = Checkpoint(checkpoint, setup.identity(), checkpoint_every) if checkpoint else None
    learner, history = _train_network(setup, report, kept, graphs)
    split = setup.split(config.seed)
    scores, outputs = score_test(learner, split) if read_test else ({}, {})
    test = {name: value.mean().item() for name, value in scores.items()}
    learner.scale.out_of(learner.model.heads)
    # A copy of the outermost module alone is not compiled, so predictions compile nothing anew.
    network = copy.copy(setup.backbone.network)
    net = TwoHeadedNet(network, learner.model.heads, config.precision)
    return TrialResult(history, net.to(inputs.device), setup.backbone, split, test, outputs, ())


def _run_frozen(
    config: TrialConfig, inputs: Inputs, report: Report, read_test: bool
) -> TrialResult:
    setup = TrialSetup(config, inputs)
    (result,) = sweep_from(setup, [config], read_test)
    for metrics in result.history:
        report(metrics)
    if result.error:
        raise result.error
    net = TwoHeadedNet(setup.backbone.network, result.make_heads(), config.precision).to(
        inputs.device
    )
    split = setup.split(config.seed)
    counts = np.bincount(inputs.images.labels[split.val])
    warning = chance_warning(config, counts, result.history[-1])
    warnings = (warning,) if warning else ()
    found = (result.test, result.outputs)
    with torch.inference_mode():
        rows = setup.rows[split.test if read_test else split.val]
        predicted = Outputs(*(part.cpu() for part in net.heads(rows)))
    return TrialResult(result.history, net, setup.backbone, split, *found, warnings, predicted)


def _train_network(
    setup: TrialSetup, report: Report, checkpoint: Checkpoint | None, graphs: StepGraphs | None
) -> tuple[NetLearner, tuple[EpochMetrics, ...]]:
    """Train what learns, after the checkpoint if there is one."""
    config, split = setup.config, setup.split(setup.config.seed)
    heads, scale = setup.heads(config.seed), setup.scale([config.seed]).one()
    if needs_features(config.mode) and not (checkpoint and checkpoint.resumes):
        solve_heads(setup, [config.seed])[1].copy_to(heads)
        scale.into(heads)
    network, read = _what_learns(setup)
    net = TwoHeadedNet(network, heads, setup.backbone.precision)
    learner = _net_learner(setup, net, read, split, scale)
    train = partial(fit, learner, split, config, report, checkpoint, graphs)
    return learner, explain_oom(learner, train, graphs)


def _what_learns(setup: TrialSetup) -> tuple[nn.Module, Read]:
    """The network that learns, or its last stages, and the reader of its inputs."""
    config, i = setup.config, setup.inputs
    if config.unfreeze is None:
        read = pixel_reader(i.images, setup.backbone, i.device, mirrors=config.hflip)
        return setup.backbone.network, read
    prefix, upper = cut_backbone(setup.backbone, config.unfreeze, config.image_size)
    cached = load_activations(i.images, prefix, i.cache, i.device, config.hflip, i.verify)
    return upper, activation_reader(cached, prefix, i.device)


def _net_learner(
    setup: TrialSetup, net: TwoHeadedNet, read: Read, split: Split, scale: TargetScale
) -> NetLearner:
    c, i = setup.config, setup.inputs
    model = net.to(i.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if c.compile:
        use_private_cache(i.cache)
        model.network.compile(dynamic=False, options=PRIVATE_OPTIONS)
    order = partial(epoch_order, split.train, c.seed, mirror=setup.mirror)
    weighting = make_weighting(c.aux_weight, i.device, setup.task.kind)
    budget, size = Budget.of(c, len(split.train)), eval_batch(i.device, i.images.image_size)
    changed, augment = None, make_augment(c.augment, c.seed)
    if augment:
        changed = augmented_reader(i.images, setup.backbone, i.device, augment)
    data = (*i.targets(), scale, weighting, order, budget, size)
    weights = setup.class_weights([c.seed])
    second = setup.auxiliary([c.seed], setup.n_extra([c.seed]) if c.aux_weight != 0 else 0)
    more = {"class_weights": weights, "compiled": c.compile, **second}
    return NetLearner(model, *data, read, c.batchnorm, changed, **more)


def chance_warning(config: TrialConfig, counts: np.ndarray, last: EpochMetrics) -> str | None:
    """Return a warning if frozen features separate the classes no better than chance does.

    `counts` are the validation images of each class.
    By balanced accuracy, which tells a weak network from a constant one also if a class is rare.
    Metrics of earlier versions lack it: then there is none.
    """
    if config.mode not in FROZEN or config.weights == "none" or config.aux_weight == 1:
        return None
    if (found := last.val_balanced_accuracy) is None:
        return None
    chance = 1 / len(counts)
    # The variance of a mean of recalls, each that of a guess among all classes.
    noise = 2 * math.sqrt(chance * (1 - chance) * (1 / counts).sum()) / len(counts)
    if found >= chance + noise:
        return None
    rate = (
        ""
        if config.lr is None
        else (f"does the learning rate {config.lr:.2g} fit {pluralize(config.epochs, 'epoch')}, ")
    )
    return (
        f"frozen validation balanced accuracy {found:.3f} is less than two standard errors above "
        f"chance ({chance:.3f}, a guess among {len(counts)} classes) on {counts.sum()} validation "
        f"images: is the preprocessing right for these weights, {rate}or are these images too few "
        "to tell?"
    )
