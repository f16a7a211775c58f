from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import timm.models
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.vgg import make_layers

from tl_core.errors import InputError
from tl_core.models.backbones import empty_network
from tl_core.models.cuts import CUTS
from tl_core.models.stages import check_cuttable, layer_decay_groups, split, stages
from tl_core.models.weights import BackboneError

SIDE = 32
"""Of the images, pixels."""


def named(name: str) -> Callable[[], nn.Module]:
    return partial(empty_network, name, SIDE, pretrained=False)


def small_convnext() -> nn.Module:
    rows = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 16, 2), CNBlockConfig(16, None, 1)]
    network: nn.Module = models.ConvNeXt(rows, stochastic_depth_prob=0.5)
    network.set_submodule("classifier.2", nn.Identity())
    return network


def small_swin() -> nn.Module:
    network: nn.Module = models.SwinTransformer([2, 2], 8, [1, 1, 2], [1, 2, 2], [2, 2])
    network.set_submodule("head", nn.Identity())
    return network


def small_vgg() -> nn.Module:
    with torch.device("meta"):  # Its linear layers take a second to fill.
        network: nn.Module = models.VGG(nn.Sequential(), init_weights=False)
    network.set_submodule("features", make_layers([8, "M", 8, 8, "M", 8, "M"], batch_norm=True))
    network.set_submodule("classifier.0", nn.Linear(8 * 7 * 7, 8))
    network.set_submodule("classifier.3", nn.Linear(8, 8))
    network.set_submodule("classifier.6", nn.Identity())
    return network


def small_vit() -> nn.Module:
    network: nn.Module = models.VisionTransformer(SIDE, 16, 3, 2, 16, 32, dropout=0.1)
    network.set_submodule("heads.head", nn.Identity())
    return network


def timm_vit(**options: Any) -> nn.Module:
    size = (SIDE, 16, 3, 0)  # Image, patch, channels, classes.
    network: nn.Module = timm.models.VisionTransformer(
        *size, embed_dim=16, depth=3, num_heads=2, **options
    )
    return network


def timm_net(name: str) -> nn.Module:
    network: nn.Module = timm.create_model(name, num_classes=0, drop_rate=0.5)
    return network


SMALL: dict[str, list[tuple[Callable[[], nn.Module], int]]] = {
    "torch Sequential": [(named("mlp"), 6), (named("shared_mlp"), 2)],
    "torchvision ConvNeXt": [(small_convnext, 4)],
    "torchvision DenseNet": [(named("densenet121"), 5)],
    "torchvision EfficientNet": [(named("efficientnet_b0"), 8), (named("efficientnet_v2_s"), 7)],
    "torchvision MNASNet": [(named("mnasnet0_5"), 7)],
    "torchvision MobileNetV2": [(named("mobilenet_v2"), 8)],
    "torchvision MobileNetV3": [(named("mobilenet_v3_small"), 6)],
    "torchvision RegNet": [(named("regnet_y_400mf"), 5)],
    "torchvision ResNet": [(named("resnet18"), 5)],
    "torchvision ShuffleNetV2": [(named("shufflenet_v2_x0_5"), 4)],
    "torchvision SwinTransformer": [(small_swin, 4)],
    "torchvision VGG": [(small_vgg, 5)],
    "torchvision VisionTransformer": [(small_vit, 4)],
    "timm ConvNeXt": [(partial(timm_net, "test_convnext"), 5)],
    "timm EfficientNet": [
        (named("efficientnet_lite0"), 8),
        (partial(timm_net, "test_efficientnet"), 6),
    ],
    "timm MobileNetV3": [
        (partial(timm_net, "mobilenetv3_small_050"), 6),
        (partial(timm_net, "lcnet_050"), 7),
    ],
    "timm RegNet": [(partial(timm_net, "regnetx_002"), 5)],
    "timm ResNet": [(partial(timm_net, "test_resnet"), 5)],
    "timm VisionTransformer": [
        (partial(timm_vit, pos_drop_rate=0.5, drop_rate=0.5), 4),
        (partial(timm_vit, global_pool="avg", pre_norm=True, reg_tokens=2), 4),
        (partial(timm_vit, global_pool="map", class_token=False), 4),
    ],
}
"""Family -> small members, each with its number of stages."""
MEMBERS = [(make, n) for members in SMALL.values() for make, n in members]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def run(parts: list[nn.Sequential], images: Tensor, training: bool) -> Tensor:
    torch.manual_seed(0)  # Of dropout.
    for part in parts:
        images = part.train(training)(images)
    return images


def test_each_family_is_tested() -> None:
    assert SMALL.keys() == CUTS.keys()


@pytest.mark.parametrize(("make", "n_stages"), MEMBERS)
def test_stages_compute_what_the_network_does(
    make: Callable[[], nn.Module], n_stages: int, images: Tensor
) -> None:
    torch.manual_seed(3)
    network = make()
    found = stages(network)
    assert len(found) == n_stages
    for own in (nn.Module.parameters, nn.Module.buffers):
        parts = [id(value) for stage in found for value in own(stage)]
        assert sorted(parts) == sorted(id(value) for value in own(network))
    with torch.no_grad():
        for training in (True, False):
            whole = run([nn.Sequential(network)], images, training)
            assert torch.equal(run(found, images, training), whole)
    assert whole.shape[0] == 2
    assert not torch.equal(whole[0], whole[1])


def test_the_last_block_of_lite0_reads_3072_numbers_at_128_px() -> None:
    prefix, suffix = split(named("efficientnet_lite0")(), 1)
    at_cut = prefix.eval()(torch.zeros(1, 3, 128, 128))
    assert at_cut.shape == (1, 192, 4, 4)
    assert at_cut.numel() == 3072
    assert suffix.eval()(at_cut).shape == (1, 1280)


@pytest.mark.parametrize(("name", "firsts"), [
    ("resnet18", ["conv1", "layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1",
                  "layer4.0.conv1"]),
    ("densenet121", ["features.conv0", *(f"features.denseblock{i}.denselayer1.norm1"
                                         for i in range(1, 5))]),
    ("mobilenet_v3_small", ["features.0.0", *(f"features.{i}.block.0.0"
                                              for i in (1, 2, 4, 7, 9))]),
    ("efficientnet_lite0", ["conv_stem", "blocks.0.0.conv_dw",
                            *(f"blocks.{i}.0.conv_pw" for i in range(1, 7))]),
    ("mlp", [str(i) for i in (1, 3, 5, 7, 9, 11)]),
])  # fmt: skip
def test_where_stages_begin(name: str, firsts: list[str]) -> None:
    network = named(name)()
    names = {id(value): entry for entry, value in network.named_parameters()}
    found = [names[id(next(stage.parameters()))] for stage in stages(network)]
    assert found == [f"{first}.weight" for first in firsts]


def test_training_the_last_stages_trains_the_network(images: Tensor) -> None:
    network = named("shufflenet_v2_x0_5")()
    prefix, suffix = split(network, 2)
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.SGD(suffix.parameters(), lr=1e-3)
    with torch.no_grad():
        at_cut = prefix.eval()(images)
    suffix.train()(at_cut).square().mean().backward()
    optimizer.step()
    changed = {n.split(".")[0] for n, v in network.named_parameters() if (v != before[n]).any()}
    assert changed == {"stage3", "stage4", "conv5"}
    assert torch.equal(suffix.eval()(at_cut), network.eval()(images))


@pytest.mark.parametrize("unfreeze", [-1, 0, 4, 5])
def test_both_parts_need_a_stage(unfreeze: int) -> None:
    text = (
        f"--unfreeze {unfreeze}: this ShuffleNetV2 has 4 stages, so the last 1 to 3 can learn "
        "alone; --mode finetune trains them all, --mode freeze none"
    )
    with pytest.raises(InputError, match=f"^{text}$"):
        split(named("shufflenet_v2_x0_5")(), unfreeze)


@pytest.mark.parametrize(
    ("name", "family"),
    [("squeezenet1_1", "torchvision SqueezeNet"), ("timm:test_byobnet", "timm ByobNet")],
)
def test_other_networks_are_refused(name: str, family: str) -> None:
    text = (
        rf"^{family} is no network that can be cut into stages \(--mode partial, --layer-decay\); "
        "must be mlp, shared_mlp or one of torchvision ConvNeXt, .*, timm VisionTransformer$"
    )
    with pytest.raises(BackboneError, match=text):
        stages(named(name)())
    with pytest.raises(BackboneError, match=text):
        check_cuttable(name)


def test_a_subclass_may_run_otherwise() -> None:
    class OwnNet(nn.Sequential):
        pass

    with pytest.raises(BackboneError, match="OwnNet is no network that can be cut"):
        stages(OwnNet(nn.Linear(1, 1)))


@pytest.mark.parametrize("name", ["mlp", "resnet18", "efficientnet_lite0", "timm:test_vit"])
def test_names_of_networks_that_can_be_cut(name: str) -> None:
    check_cuttable(name)


def test_an_unknown_name() -> None:
    with pytest.raises(BackboneError, match=r"unknown backbone 'resnet19' \(did you mean resnet18"):
        check_cuttable("resnet19")


def test_lower_stages_learn_more_slowly() -> None:
    network = named("shared_mlp")()
    (stem, slow), (last, fast) = layer_decay_groups(stages(network), 0.5)
    assert (slow, fast) == (0.25, 0.5)
    assert [id(p) for p in (*stem, *last)] == [id(p) for p in network.parameters()]
    (only,) = layer_decay_groups(split(network, 1)[1], 0.5)
    assert only[1] == 0.5
    assert [id(p) for p in only[0]] == [id(p) for p in last]
