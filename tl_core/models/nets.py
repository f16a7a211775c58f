"""Untrained headless networks of torchvision, timm and the article, and how weights fill them."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torchvision import models

from tl_core.models.article import ARTICLE_WIDTHS
from tl_core.models.entries import Entries
from tl_core.models.weights import BackboneError, WeightsFile

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
HALF: Triple = (0.5, 0.5, 0.5)

# Prefixes of torchvision's auxiliary classifiers. They make the output a tuple in train mode.
_AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}

# Names in torchvision's older files, and their present names.
_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)
_TRIED = 3
"""Prefixes of names in a checkpoint that are tried: the most frequent."""


@dataclass(frozen=True)
class Headless:
    """A network without its classifier, its preprocessing, and the names of what was removed."""

    network: nn.Module
    mean: Triple
    std: Triple
    native_size: int
    """Side of the images that the network was designed for, pixels."""
    heads: Callable[[], tuple[str, ...]] = tuple
    """Returns the prefixes of its own classifiers, whose entries a weights file may hold."""


def article_net(name: str, image_size: int) -> Headless:
    """The layers below the heads of one of the article's two fully connected nets."""
    widths = (3 * image_size**2, *ARTICLE_WIDTHS[name])
    layers: list[nn.Module] = [nn.Flatten()]
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return Headless(nn.Sequential(*layers), HALF, HALF, image_size)


def torchvision_net(name: str, pretrained: bool) -> Headless:
    """A torchvision classification network whose last layer is the identity.

    `pretrained` weights of GoogLeNet and Inception v3 expect inputs normalised with 0.5; the
    network then converts inputs that are normalised with the mean and std here.
    """
    recipe = models.get_model_weights(name)["DEFAULT"]
    transforms = recipe.transforms()
    options: dict[str, object] = {}
    if auxiliary := _AUXILIARY_HEADS.get(name, ()):
        options = {"aux_logits": False, "transform_input": pretrained, "init_weights": True}
    if name.startswith("vit_"):
        options = {"image_size": recipe.meta["min_size"][0]}
    network = models.get_model(name, weights=None, **options)
    heads = (f"{_behead(network)}.", *auxiliary)
    return Headless(
        network=network,
        mean=_triple(getattr(transforms, "mean", IMAGENET_MEAN)),
        std=_triple(getattr(transforms, "std", IMAGENET_STD)),
        native_size=transforms.crop_size[0],
        heads=lambda: heads,
    )


def _behead(network: nn.Module) -> str:
    def names(kind: type[nn.Module]) -> list[str]:
        return [name for name, module in network.named_modules() if isinstance(module, kind)]

    # SqueezeNet has no linear layer: it classifies with its last convolution.
    last = (names(nn.Linear) or names(nn.Conv2d))[-1]
    network.set_submodule(last, nn.Identity())
    return last


def _triple(values: Iterable[float]) -> Triple:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def timm_net(name: str) -> Headless:
    """A timm network, by timm's name for it, without its classifier."""
    import timm  # Takes 1.5 s, which torchvision's networks do not need.
    from timm.data.config import resolve_data_config

    network = timm.create_model(name, pretrained=False, num_classes=0)
    config: dict[str, Any] = resolve_data_config(  # type: ignore[no-untyped-call]
        pretrained_cfg=network.pretrained_cfg
    )
    return Headless(
        network=network,
        mean=_triple(config["mean"]),
        std=_triple(config["std"]),
        native_size=config["input_size"][-1],
        heads=partial(_timm_heads, name, network),
    )


def _timm_heads(name: str, network: nn.Module) -> tuple[str, ...]:
    import timm

    # With two classes, because some of timm's networks have no classifier by default.
    whole = timm.create_model(name, pretrained=False, num_classes=2)
    entries = set(whole.state_dict()) - set(network.state_dict())
    return tuple({entry.removesuffix(_end(entry)) for entry in entries if "." in entry})


def timm_entries(name: str, network: nn.Module, file: WeightsFile) -> Entries:
    """Entries for a timm network, after timm's own conversion of its default weights."""
    import timm

    try:
        # With its original classifier, because timm ignores missing entries when it changes it.
        whole = timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(file.path), "custom_load": False},
        )
    except Exception as error:  # Each family of networks has its own conversion and errors.
        raise BackboneError(
            f"weights file {file.path} is not for timm:{name} ({type(error).__name__})"
        ) from error
    own = network.state_dict()
    return {entry: value for entry, value in whole.state_dict().items() if entry in own}


def lite0_entries(entries: Entries, network: nn.Module) -> Entries:
    """EfficientNet-Lite0's entries from its package, under the names of timm's network.

    Both list the same layers in the same order; only the last parts of the names are the same.
    """
    body = {name: value for name, value in entries.items() if not name.startswith("_fc.")}
    names = list(network.state_dict())
    if [_end(name) for name in body] != [_end(name) for name in names]:
        raise BackboneError("the packaged efficientnet_lite0 weights are not in timm's order")
    return dict(zip(names, body.values(), strict=True))


def _end(name: str) -> str:
    return name.rpartition(".")[2]


def fill(backbone: str, net: Headless, entries: Entries, file: WeightsFile) -> str | None:
    """Copy `entries` of `file` into the network, except those of the network's own classifiers.

    All names may be below one prefix; then what is not below it is left out, and a note says so.
    Raises `BackboneError` unless names and shapes match one to one. Only BatchNorm's step counts
    may be missing: older files have none.
    """
    own = net.network.state_dict()
    needed = [k for k in own if _end(k) != "num_batches_tracked"]
    try:
        prefix = find_prefix(needed, entries, _new_name)
    except SeveralNetworksError as error:
        why = f"holds several networks, below {error}; save one alone"
        raise BackboneError(f"weights file {file.path} {why}") from error
    others = [name for name in entries if not name.startswith(prefix)]
    entries = {k.removeprefix(prefix): v for k, v in entries.items() if k.startswith(prefix)}
    body = {name if name in own else _new_name(name): entries[name] for name in entries}
    if not body.keys() <= own.keys():
        heads = net.heads()
        body = {k: v for k, v in body.items() if k in own or not k.startswith(heads)}
    faults = {
        "missing": [k for k in needed if k not in body],
        "unexpected": [k for k in body if k not in own],
        "of another shape": [k for k in own if k in body and own[k].shape != body[k].shape],
    }
    if any(faults.values()):
        counts = ", ".join(_format(kind, names) for kind, names in faults.items() if names)
        raise BackboneError(f"weights file {file.path} is not for {backbone}: {counts}")
    # Updated in place, which keeps its version metadata: the names are the present ones.
    own.update(body)
    net.network.load_state_dict(own)
    if not prefix:
        return None
    rest = f", without {_format('other' + 's' * (len(others) > 1), others)}" if others else ""
    return f"weights are those below {prefix} in {file.label}{rest}"


def _new_name(name: str) -> str:
    for pattern, new in _OLD_NAMES:
        name = pattern.sub(new, name)
    return name


def _format(kind: str, names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {kind} ({shown})"


class SeveralNetworksError(Exception):
    """More than one prefix gives the whole network."""


def find_prefix(
    needed: Collection[str], names: Collection[str], present: Callable[[str], str]
) -> str:
    """Return the prefix below which a checkpoint has all needed names; empty if there is none.

    Args:
        needed: names that the network has.
        names: names in the checkpoint.
        present: gives the present name of an entry, whose name may be one of an older version.

    Raises:
        SeveralNetworksError: there are several such prefixes; the message has two.
    """

    def is_whole(prefix: str) -> bool:
        below = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        return {*needed} <= {*map(present, below)}

    if is_whole(""):
        return ""
    shared = Counter(
        name.removesuffix(end) for name in names for end in needed if name.endswith(f".{end}")
    )
    whole = [prefix for prefix, _ in shared.most_common(_TRIED) if is_whole(prefix)]
    if len(whole) > 1:
        raise SeveralNetworksError(" and ".join(sorted(whole)[:2]))
    return whole[0] if whole else ""
