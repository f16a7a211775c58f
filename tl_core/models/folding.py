"""A frozen network made ready to run over many images."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tl_core.config import Precision
from tl_core.models.backbones import Backbone
from tl_core.models.precision import NARROW

_APART = 1e-3
"""Largest distance of a folded network's outputs, relative to their norm; rounding is 1e-6."""


def fold_backbone(backbone: Backbone, image_size: int) -> Backbone:
    """Return a backbone whose network does the same with fewer passes over memory.

    Each BatchNorm that follows a convolution becomes part of its weights. With `bf16` or `fp16`,
    the weights of convolutions and linear layers are cast once, and not by autocast in every pass.
    The outputs are the same to the rounding of the precision, so the cache holds them as the same.

    Args:
        backbone: does not change.
        image_size: side of the images, pixels.
    """
    network = fold_network(backbone.network, image_size, backbone.precision)
    return replace(backbone, network=network)


@torch.no_grad()
def fold_network(network: nn.Module, image_size: int, precision: Precision) -> nn.Module:
    """Return a copy of a network [B, 3, S, S] -> [B, ...] in eval mode, as `fold_backbone` says.

    The copy is on the CPU. With `fp16` no BatchNorm is folded: a product of weights may leave its
    range where each factor is in it.
    """
    folded = copy.deepcopy(network).cpu().eval()
    norms = (m for m in folded.modules() if isinstance(m, nn.BatchNorm2d))
    if precision != "fp16" and any(_rest(norm) is not None for norm in norms):
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(1, 3, image_size, image_size, generator=generator)
        expected = _fold(folded, image)
        # A convolution whose outputs also go elsewhere must keep them.
        if (folded(image) - expected).norm() > _APART * expected.norm():
            folded = copy.deepcopy(network).cpu().eval()
    if narrow := NARROW.get(precision):
        for module in folded.modules():
            if type(module) in (nn.Conv2d, nn.Linear):  # A subclass may compute with its weights.
                module.to(narrow)
    return folded


def _fold(network: nn.Module, image: Tensor) -> Tensor:
    """Fold what can be folded; return the outputs for the image before."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    """The output of each convolution, which stays alive so that no other has its id."""
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    runs: list[nn.Module] = []

    def after(module: nn.Module, _: object, output: Tensor) -> None:
        runs.append(module)
        if type(module) is nn.Conv2d:
            made[id(output)] = module, output

    def before(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if found := made.get(id(inputs[0])):
            pairs[module] = found[0]

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    hooks = [layer.register_forward_hook(after) for layer in layers]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    hooks += [m.register_forward_pre_hook(before) for m in norms if _rest(m) is not None]
    outputs: Tensor = network(image)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in network.named_modules()}
    for norm, conv in pairs.items():
        rest = _rest(norm)
        if rest is not None and runs.count(norm) == runs.count(conv) == 1:
            network.set_submodule(names[conv], fuse_conv_bn_eval(conv, norm))
            network.set_submodule(names[norm], rest)
    return outputs


def _rest(norm: nn.BatchNorm2d) -> nn.Module | None:
    """What a BatchNorm does beside normalising; None if that is not known."""
    if norm.running_mean is None:
        return None
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if (
        type(norm).__name__ == "BatchNormAct2d"
    ):  # Of timm, which torchvision's networks do not need.
        return nn.Sequential(*(norm.get_submodule(name) for name in ("drop", "act")))
    return None
