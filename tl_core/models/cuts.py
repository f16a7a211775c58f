"""How each class of network is cut into stages: one visible table."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

Parts = list[list[nn.Module]]
"""The modules of each stage, in the order in which they run."""


class _Method(nn.Module):
    """A method of a network as a module, which holds only the parts that the method uses."""

    def __init__(self, network: nn.Module, method: str, parts: Iterable[str]) -> None:
        super().__init__()
        # In a tuple, where torch does not take the whole network for a part of this module.
        self._network, self._method = (network,), method
        for part in parts:
            setattr(self, part, getattr(network, part))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = getattr(self._network[0], self._method)(inputs)
        return outputs


class _Tokens(nn.Module):
    """Torchvision's ViT: patches [B, P, D] -> class token and patches, with position."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.class_token = network.class_token
        self.pos_embedding = network.encoder.pos_embedding
        self.dropout = network.encoder.dropout

    def forward(self, patches: Tensor) -> Tensor:
        tokens = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1)
        dropped: Tensor = self.dropout(tokens + self.pos_embedding)
        return dropped


class _FirstToken(nn.Module):
    """[B, P, D] -> [B, D]."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


class _Mean(nn.Module):
    """[B, C, H, W] -> [B, C]."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean([2, 3])


def _chain(stem: list[nn.Module], groups: Iterable[Any], tail: list[nn.Module]) -> Parts:
    """The stem, then each group (a module or a list); the tail belongs to the last."""
    *lower, last = (group if isinstance(group, list) else [group] for group in groups)
    return [stem, *lower, [*last, *tail]]


def _pooled(*tail: nn.Module) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *tail]


def _resnet(n: Any) -> Parts:
    layers = [n.layer1, n.layer2, n.layer3, n.layer4]
    return _chain([n.conv1, n.bn1, n.relu, n.maxpool], layers, _pooled(n.fc))


def _efficientnet(n: Any) -> Parts:
    stem, *blocks, head = n.features
    return _chain([stem], blocks, [head, *_pooled(n.classifier)])


def _mobilenet(n: Any) -> Parts:
    stem, *blocks, head = n.features
    # A row of the papers' tables: blocks with the same number of channels.
    rows = [list(row) for _, row in itertools.groupby(blocks, lambda block: block.out_channels)]
    return _chain([stem], rows, [head, *_pooled(n.classifier)])


def _mnasnet(n: Any) -> Parts:
    layers = list(n.layers)
    return _chain(layers[:8], layers[8:-3], [*layers[-3:], _Mean(), n.classifier])


def _merging(features: Iterable[nn.Module], tail: list[nn.Module]) -> Parts:
    """Stem, blocks, merging, blocks, merging, blocks, ...: a merging begins a stage."""
    stem, first, *rest = features
    pairs = [list(pair) for pair in zip(rest[::2], rest[1::2], strict=True)]
    return _chain([stem], [first, *pairs], tail)


def _vgg(n: Any) -> Parts:
    groups: Parts = [[]]
    for layer in n.features:
        groups[-1].append(layer)
        if isinstance(layer, nn.MaxPool2d):
            groups.append([])
    return groups[:-1] + _layers([n.avgpool, nn.Flatten(), *n.classifier])


def _densenet(n: Any) -> Parts:
    *layers, norm = n.features
    stem, blocks = layers[:4], layers[4:]
    pairs = [blocks[i : i + 2] for i in range(0, len(blocks), 2)]  # The last has no transition.
    return _chain(stem, pairs, [norm, nn.ReLU(), *_pooled(n.classifier)])


def _shufflenet(n: Any) -> Parts:
    return _chain([n.conv1, n.maxpool], [n.stage2, n.stage3, n.stage4], [n.conv5, _Mean(), n.fc])


def _vit(n: Any) -> Parts:
    stem = [_Method(n, "_process_input", ["conv_proj"]), _Tokens(n)]
    return _chain(stem, n.encoder.layers, [n.encoder.ln, _FirstToken(), n.heads])


def _timm_efficientnet(n: Any) -> Parts:
    tail = [n.conv_head, n.bn2, n.global_pool, nn.Dropout(n.drop_rate), n.classifier]
    return _chain([n.conv_stem, n.bn1], n.blocks, tail)


def _timm_resnet(n: Any) -> Parts:
    stem, layers = [n.conv1, n.bn1, n.act1, n.maxpool], [n.layer1, n.layer2, n.layer3, n.layer4]
    return _chain(stem, layers, [n.global_pool, nn.Dropout(n.drop_rate), n.fc])


def _timm_vit(n: Any) -> Parts:
    position = _Method(n, "_pos_embed", ["cls_token", "reg_token", "pos_embed", "pos_drop"])
    pool = _Method(n, "pool", ["attn_pool"])
    stem = [n.patch_embed, position, n.patch_drop, n.norm_pre]
    return _chain(stem, n.blocks, [n.norm, pool, n.fc_norm, n.head_drop, n.head])


def _timm_mobilenetv3(n: Any) -> Parts:
    *blocks, last = n.blocks
    # In most the last group is the head convolution, which torchvision has apart.
    head = [last] if type(last[0]).__name__ == "ConvBnAct" else []
    groups = blocks if head else [*blocks, last]
    tail = [n.global_pool, n.conv_head, n.norm_head, n.act2, n.flatten, nn.Dropout(n.drop_rate)]
    return _chain([n.conv_stem, n.bn1], groups, [*head, *tail, n.classifier])


def _layers(modules: Iterable[nn.Module]) -> Parts:
    """Each linear layer begins a stage; what precedes the first belongs to its stage."""
    groups: Parts = [[]]
    for module in modules:
        if isinstance(module, nn.Linear) and any(isinstance(m, nn.Linear) for m in groups[-1]):
            groups.append([])
        groups[-1].append(module)
    return groups


ARTICLE = "torch Sequential"
CUTS: dict[str, Callable[[Any], Parts]] = {
    ARTICLE: _layers,
    "torchvision ConvNeXt": lambda n: _merging(n.features, [n.avgpool, n.classifier]),
    "torchvision DenseNet": _densenet,
    "torchvision EfficientNet": _efficientnet,
    "torchvision MNASNet": _mnasnet,
    "torchvision MobileNetV2": _mobilenet,
    "torchvision MobileNetV3": _mobilenet,
    "torchvision RegNet": lambda n: _chain(
        [n.stem], n.trunk_output, [n.avgpool, nn.Flatten(), n.fc]
    ),
    "torchvision ResNet": _resnet,
    "torchvision ShuffleNetV2": _shufflenet,
    "torchvision SwinTransformer": lambda n: _merging(
        n.features, [n.norm, n.permute, n.avgpool, n.flatten, n.head]
    ),
    "torchvision VGG": _vgg,
    "torchvision VisionTransformer": _vit,
    "timm ConvNeXt": lambda n: _chain([n.stem], n.stages, [n.norm_pre, n.head]),
    "timm EfficientNet": _timm_efficientnet,
    "timm MobileNetV3": _timm_mobilenetv3,
    "timm RegNet": lambda n: _chain([n.stem], [n.s1, n.s2, n.s3, n.s4], [n.final_conv, n.head]),
    "timm ResNet": _timm_resnet,
    "timm VisionTransformer": _timm_vit,
}
"""Library and class of a network -> how it is cut; a subclass may run otherwise, so has no cut."""
