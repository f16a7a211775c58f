"""The article's runs, by name: each is one trial."""

from dataclasses import dataclass
from typing import Any

from tl_core.models.article import ARTICLE_RECIPE


@dataclass(frozen=True)
class Preset:
    """One run of the article."""

    about: str
    """What it reproduces, and what came out there."""
    values: dict[str, Any]
    """The settings it stands for; flags override them."""


def _transfer(ratio: float, mode: str = "freeze", **other: Any) -> dict[str, Any]:
    base = {"backbone": "resnet18", "image_size": 224, "lr": (1e-3,), "epochs": 10}
    base |= {"precision": "fp32"}  # As the article computed, on any hardware.
    base |= ARTICLE_RECIPE | (
        {} if mode == "freeze" else {"batchnorm": "train", "head_lr_ratio": 1.0}
    )
    return base | {"batch_size": 32, "mode": (mode,), "train_ratio": (ratio,)} | other


def _own_net(backbone: str, **other: Any) -> dict[str, Any]:
    return _transfer(0.8, "scratch", backbone=backbone, image_size=128, **other)


PRESETS: dict[str, Preset] = {
    "freeze-large": Preset(
        "ResNet18, frozen, 80 % of the images train one new unit: better after one epoch than "
        "the fully connected net ever was",
        _transfer(0.8),
    ),
    "freeze-small": Preset(
        "the same with 10 %: unsteady first epochs, then useful; the fewer the data, the more "
        "transfer is worth",
        _transfer(0.1),
    ),
    "finetune": Preset(
        "the same with 80 % and nothing frozen: also good, and not compared further",
        _transfer(0.8, "finetune"),
    ),
    "mlp": Preset(
        "the earlier net: 128 x 128 x 3 -> 1024 -> 512 -> 128 -> 32 -> 8 -> 3 -> 1 from random "
        "weights, about 70 % validation accuracy at best",
        _own_net("mlp", epochs=30),
    ),
    "multitask": Preset(
        "cat or dog and brightness from a shared 1024 -> 256, losses weighted 0.7 and 0.3; the "
        "article shows no results",
        _own_net("shared_mlp", aux_weight=(0.3,)),
    ),
    "multitask-transfer": Preset(
        "the same two heads on a pretrained, frozen ResNet18",
        _transfer(0.8, aux_weight=(0.3,)),
    ),
    "resnet50": Preset(
        "the Keras appendix: ResNet50, frozen, BatchNorm in inference mode, global average "
        "pooling, one sigmoid unit; split seed 42",
        _transfer(0.8, backbone="resnet50", split_seed=42),
    ),
}
