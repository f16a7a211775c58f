"""Names of backbones -> headless networks, their preprocessing and their weights."""

import copy
import difflib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import torch
import torchvision
from torch import Tensor, nn
from torchvision import models

from tl_core.config import Precision
from tl_core.errors import Fault
from tl_core.models.article import ARTICLE_WIDTHS
from tl_core.models.entries import Entries, read_entries
from tl_core.models.nets import (
    Headless,
    article_net,
    fill,
    lite0_entries,
    timm_entries,
    timm_net,
    torchvision_net,
)
from tl_core.models.weights import (
    BackboneError,
    WeightsFile,
    lite0_file,
    timm_file,
    torchvision_file,
    user_file,
)
from tl_core.runtime import one_thread

LITE0 = "efficientnet_lite0"
_TIMM = "timm:"


@dataclass(frozen=True)
class Backbone:
    """A headless network in eval mode, its preprocessing, and the keys of its cached features."""

    name: str
    network: nn.Module
    """Normalised images [N, 3, S, S] -> features [N, D]."""
    n_features: int
    """D."""
    mean: tuple[float, float, float]
    """Subtracted from images in 0..1, one value for each channel."""
    std: tuple[float, float, float]
    """Divides the difference, one value for each channel."""
    weights_id: str
    """File name and content hash, or `random`."""
    precision: Precision = "fp32"
    """What the network computes in."""
    note: str | None = None
    """What was taken from the weights file, if it is not all."""


def load_backbone(name: str, weights: str = "default", image_size: int = 224) -> Backbone:
    """Build a headless network and load its weights.

    Args:
        name: one of `backbone_names()`, or `timm:NAME`.
        weights: `default`, `none` (drawn from torch's global generator, which the other two do
            not change), or the path of a file, with one of `weights.SUFFIXES`.
        image_size: side of the images, pixels.

    Raises:
        BackboneError: unknown name, weights that are unavailable or of another network, or a
            network that does not take images of this size.
    """
    check_backbone_name(name)
    note, file = None, None if weights == "none" else _find_weights(name, weights)
    with torch.random.fork_rng(devices=[], enabled=file is not None):
        net = _build(name, image_size, pretrained=file is not None)
        if file is not None:
            by_default = weights == "default"
            note = fill(name, net, _read_weights(name, net, file, by_default=by_default), file)
    n_features = _count_features(name, net, image_size)
    weights_id = "random" if file is None else file.id
    return Backbone(name, net.network, n_features, net.mean, net.std, weights_id, note=note)


def empty_network(name: str, image_size: int, *, pretrained: bool) -> nn.Module:
    """A backbone's network with random weights, to load a state dict into.

    Args:
        name: as for `load_backbone`.
        image_size: side of the images, pixels.
        pretrained: whether the state dict began as pretrained weights: some networks of
            torchvision then convert their inputs.

    Raises:
        BackboneError: unknown name.
    """
    check_backbone_name(name)
    with torch.random.fork_rng(devices=[]):
        return _build(name, image_size, pretrained=pretrained).network


def network_class(name: str) -> type:
    """Return the class of a backbone's network; builds it only if its library does not say.

    Raises `BackboneError` if the name is unknown.
    """
    check_backbone_name(name)
    if name in ARTICLE_WIDTHS:
        return nn.Sequential
    if timm_name := _timm_name(name):
        from timm.models import model_entrypoint

        entry = model_entrypoint(timm_name)
    else:
        entry = models.get_model_builder(name)
    kind = entry.__annotations__.get("return")
    return kind if isinstance(kind, type) else type(empty_network(name, 224, pretrained=False))


def batch_faults(backbone: Backbone, image_size: int, batch_size: int) -> list[Fault]:
    """Say why the network can't learn from batches of this size; [] if it can.

    BatchNorm has no variance over one value: a network that shrinks an image to one pixel needs
    two images.
    """
    if batch_size > 1:
        return []
    learning = copy.deepcopy(backbone.network).train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            learning(torch.zeros(1, 3, image_size, image_size))
    except ValueError:
        why = f"the BatchNorm of {backbone.name} can't learn from one image of {image_size} px"
        ways_out = "use --batch-size 2, --batchnorm frozen or a larger --image-size"
        return [Fault("--batch-size", f"1: {why}; {ways_out}")]
    return []


def library_versions() -> dict[str, str]:
    """Versions of the libraries that build networks: others may build a network differently."""
    return {name: version(name) for name in ("torch", "torchvision", "timm")}


def has_default_weights(name: str) -> bool:
    """Whether the backbone may have pretrained weights: the article's own nets have none."""
    return name not in ARTICLE_WIDTHS


def backbone_names() -> list[str]:
    """All names except timm's; those are `timm:` and a name of `timm.list_models()`."""
    return sorted([*models.list_models(module=torchvision.models), LITE0, *ARTICLE_WIDTHS])


def check_backbone_name(name: str) -> None:
    """Raise `BackboneError`, with similar names, unless `name` is a backbone's."""
    if name in backbone_names() or name in (known := _timm_names()):
        return
    near = difflib.get_close_matches(name, [*backbone_names(), *known], n=3)
    close = [_TIMM + name] if _TIMM + name in known else near
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise BackboneError(
        f"unknown backbone {name!r}{hint}; must be timm:NAME for a NAME of timm.list_models(), or "
        f"one of {', '.join(backbone_names())}"
    )


@cache
def _timm_names() -> frozenset[str]:
    import timm  # Takes 1.5 s, which torchvision's networks do not need.

    return frozenset(_TIMM + name for name in [*timm.list_models(), *timm.list_pretrained()])


def _timm_name(name: str) -> str | None:
    if name == LITE0:
        return "tf_efficientnet_lite0"
    return name.removeprefix(_TIMM) if name.startswith(_TIMM) else None


def _build(name: str, image_size: int, *, pretrained: bool) -> Headless:
    if name in ARTICLE_WIDTHS:
        return article_net(name, image_size)
    timm_name = _timm_name(name)
    return timm_net(timm_name) if timm_name else torchvision_net(name, pretrained)


def _find_weights(name: str, weights: str) -> WeightsFile:
    if weights != "default":
        return user_file(weights)
    if name in ARTICLE_WIDTHS:
        raise BackboneError(
            f"{name} has no pretrained weights: use --mode scratch, --weights FILE or "
            "--weights none"
        )
    if name == LITE0:
        return lite0_file()
    timm_name = _timm_name(name)
    if not timm_name:
        return torchvision_file(name)
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(timm_name)
    if config is None or not config.hf_hub_id:
        raise BackboneError(f"{name} has no default weights to download: use --weights FILE")
    return timm_file(name, config.hf_hub_id)


def _read_weights(name: str, net: Headless, file: WeightsFile, *, by_default: bool) -> Entries:
    timm_name = _timm_name(name)
    if by_default and name == LITE0:
        return lite0_entries(read_entries(file.path), net.network)
    if by_default and timm_name:
        return timm_entries(timm_name, net.network, file)
    return read_entries(file.path)


def _count_features(name: str, net: Headless, image_size: int) -> int:
    try:
        # One image is too little work to share: threads would wait for each other in each layer,
        # which takes a second where another program has one of the cores.
        with torch.no_grad(), one_thread():
            features = net.network.eval()(torch.zeros(1, 3, image_size, image_size))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackboneError(
            f"{name} does not take {image_size} x {image_size} images ({reason}): "
            f"use --image-size {net.native_size}"
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise BackboneError(f"{name} does not give one vector per image, so it is no backbone")
    return features.shape[1]
