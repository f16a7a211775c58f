import re
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision import models
from torchvision.models import regnet

from tl_core.models.backbones import (
    backbone_names,
    check_backbone_name,
    has_default_weights,
    load_backbone,
)
from tl_core.models.nets import fill, torchvision_net
from tl_core.models.weights import BackboneError, WeightsFile

# One of each way to classify, and the side of the smallest images that keep the test short.
FAMILIES = [
    *(("googlenet", 64), ("mnasnet0_5", 64), ("mobilenet_v3_small", 64)),
    *(("shufflenet_v2_x0_5", 64), ("squeezenet1_1", 64)),
]
OTHER_FAMILIES = [
    pytest.param(name, side, marks=pytest.mark.integration)
    for side, names in {
        64: ("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s",
             "mobilenet_v2", "regnet_x_400mf", "resnet18", "swin_t"),
        96: ("inception_v3",),
        224: ("maxvit_t", "vit_b_32"),
    }.items()
    for name in names
]  # fmt: skip
NOWHERE = WeightsFile(Path("nowhere.pth"), sha256="", label="")


@pytest.fixture
def meta_regnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """RegNet computes its widths with tensors, which hold no numbers on the meta device."""
    plain = regnet.BlockParams.from_init_params

    def on_cpu(*args: object, **options: object) -> object:
        with torch.device("cpu"):
            return plain(*args, **options)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", on_cpu)


@pytest.fixture
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a quicker way of drawing weights in the place of the slowest."""

    def draw(weight: Tensor, *_: object, **__: object) -> Tensor:
        return nn.init.uniform_(weight, -0.05, 0.05)

    monkeypatch.setattr(nn.init, "trunc_normal_", draw)


@pytest.fixture
def widths_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of inputs of each classifier that is taken off."""
    seen: list[int] = []
    plain = nn.Module.set_submodule

    def spy(network: nn.Module, target: str, module: nn.Module) -> None:
        last = network.get_submodule(target)
        assert last is classifier(network)
        seen.append(getattr(last, "in_features", 0) or last.in_channels)  # type: ignore[arg-type]
        plain(network, target, module)

    monkeypatch.setattr(nn.Module, "set_submodule", spy)
    return seen


def whole_network(name: str) -> nn.Module:
    """The network as torchvision's builder makes it for pretrained weights, in eval mode."""
    special = {"transform_input": True, "init_weights": True}
    options = special if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = models.get_model(name, weights=None, **options).eval()
    return network


def classifier(network: nn.Module) -> nn.Module:
    outputs = [m for m in network.modules() if getattr(m, "out_features", 0) == 1000]
    # SqueezeNet alone classifies by a convolution.
    return outputs[-1] if outputs else network.get_submodule("classifier.1")


def into_classifier(network: nn.Module, images: Tensor) -> Tensor:
    """What the network's own classifier is given for `images`."""
    seen: list[Tensor] = []
    classifier(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(images)
    return seen[0]


@pytest.mark.integration
@pytest.mark.parametrize("name", models.list_models(module=torchvision.models))
def test_every_torchvision_network_is_beheaded(
    name: str, meta_regnet: None, widths_seen: list[int]
) -> None:
    with torch.device("meta"):
        backbone = load_backbone(name, "none", {"vit_h_14": 518}.get(name, 224))
    assert widths_seen == [backbone.n_features]


@pytest.mark.parametrize(("name", "side"), [*FAMILIES, *OTHER_FAMILIES])
def test_features_are_what_the_classifier_would_get(
    name: str, side: int, quick_start: None
) -> None:
    torch.manual_seed(0)
    whole, net = whole_network(name), torchvision_net(name, pretrained=True)
    fill(name, net, whole.state_dict(), NOWHERE)
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        features = net.network.eval()(images)
    expected = into_classifier(whole, images)
    if expected.ndim == 4:
        expected = expected.relu().mean((2, 3))
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_gone_in_train_mode(name: str, quick_start: None) -> None:
    backbone = load_backbone(name, "none", 96)
    features = backbone.network.train()(torch.randn(2, 3, 96, 96))
    assert isinstance(features, Tensor)
    assert features.shape == (2, backbone.n_features)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inputs_are_converted_for_pretrained_weights_only(name: str) -> None:
    for pretrained in (True, False):
        with torch.device("meta"):
            net = torchvision_net(name, pretrained)
        assert net.network.transform_input == pretrained


def test_a_backbone_tells_its_features_and_its_normalisation() -> None:
    backbone = load_backbone("resnet18", "none", 64)
    assert (backbone.name, backbone.n_features, backbone.weights_id) == ("resnet18", 512, "random")
    assert backbone.mean == (0.485, 0.456, 0.406)
    assert backbone.std == (0.229, 0.224, 0.225)
    assert not backbone.network.training


def test_normalisation_is_that_of_the_default_weights() -> None:
    with torch.device("meta"):
        backbone = load_backbone("efficientnet_v2_l", "none", 64)
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)


def test_random_weights_come_from_torchs_generator() -> None:
    def first_weight(seed: int) -> Tensor:
        torch.manual_seed(seed)
        network = load_backbone("shufflenet_v2_x0_5", "none", 64).network
        return next(network.parameters())

    assert torch.equal(first_weight(1), first_weight(1))
    assert not torch.equal(first_weight(1), first_weight(2))


def test_loading_weights_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    load_backbone("efficientnet_lite0", image_size=64)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "widths"),
    [("mlp", [1024, 512, 128, 32, 8, 3]), ("shared_mlp", [1024, 256])],
)
def test_the_articles_nets(name: str, widths: list[int]) -> None:
    backbone = load_backbone(name, "none", 16)
    linear = [layer for layer in backbone.network.modules() if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linear] == [3 * 16 * 16, *widths[:-1]]
    assert [layer.out_features for layer in linear] == widths
    assert isinstance(backbone.network[-1], nn.ReLU)  # type: ignore[index]
    assert sum(isinstance(m, nn.ReLU) for m in backbone.network.modules()) == len(widths)
    assert backbone.n_features == widths[-1]
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", ["mlp", "shared_mlp"])
def test_the_articles_nets_have_no_pretrained_weights(name: str) -> None:
    assert not has_default_weights(name)
    message = (
        f"{name} has no pretrained weights: use --mode scratch, --weights FILE or --weights none"
    )
    with pytest.raises(BackboneError, match=message):
        load_backbone(name)


def test_a_timm_network() -> None:
    backbone = load_backbone("timm:test_vit", "none", 160)
    assert backbone.n_features == 64
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert backbone.weights_id == "random"
    assert has_default_weights("timm:test_vit")


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [
        ("vit_b_32", 128, "vit_b_32 does not take 128 x 128 images (Wrong image height!"),
        ("vit_b_32", 128, "use --image-size 224"),
        ("inception_v3", 32, "use --image-size 299"),
        ("timm:vit_tiny_patch16_224", 96, "224 does not take 96 x 96 images (Input height"),
        ("timm:vit_tiny_patch16_224", 96, "use --image-size 224"),
    ],
)
def test_a_size_that_does_not_fit_is_told(name: str, side: int, message: str) -> None:
    with pytest.raises(BackboneError, match=re.escape(message)), torch.device("meta"):
        load_backbone(name, "none", side)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnt18", "unknown backbone 'resnt18' (did you mean resnet18 or "),
        ("timm:resnet10x", "did you mean timm:resnet10t or "),
        ("resnet10t", "(did you mean timm:resnet10t?); must be timm:NAME "),
        ("timm:", "unknown backbone 'timm:'"),
        ("timm:hf-hub:some/body", "unknown backbone 'timm:hf-hub:some/body'"),
        ("fasterrcnn_resnet50_fpn", "unknown backbone"),
        (
            "",
            "unknown backbone ''; must be timm:NAME for a NAME of timm.list_models(), or one of "
            "alexnet, ",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_its_like(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=re.escape(message)):
        check_backbone_name(name)


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:resnet10t.c3_in1k", "mlp", "vgg11"])
def test_known_names_pass(name: str) -> None:
    check_backbone_name(name)


def test_names_are_torchvisions_and_our_own() -> None:
    names = backbone_names()
    assert names == sorted(set(names))
    assert {*models.list_models(module=torchvision.models)} <= {*names}
    assert {"efficientnet_lite0", "mlp", "shared_mlp"} <= {*names}
