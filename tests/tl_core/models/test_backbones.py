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
    empty_network,
    has_default_weights,
    load_backbone,
    network_class,
)
from tl_core.models.nets import HALF, Headless, Triple, fill, torchvision_net
from tl_core.models.weights import BackboneError, WeightsFile

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
    """Draw weights in a quicker way than the slowest."""
    monkeypatch.setattr(
        nn.init, "trunc_normal_", lambda weight, *_, **__: nn.init.uniform_(weight, -0.05, 0.05)
    )


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


@pytest.mark.integration
@pytest.mark.parametrize("name", models.list_models(module=torchvision.models))
def test_torchvision_networks_are_cut(name: str, meta_regnet: None) -> None:
    with torch.device("meta"):
        last = classifier(whole_network(name))
        backbone = load_backbone(name, "none", {"vit_h_14": 518}.get(name, 224))
    width = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    assert backbone.n_features == width
    left = [module for module in backbone.network.modules() if type(module) is type(last)]
    assert all(module.weight.shape != last.weight.shape for module in left)


@pytest.mark.parametrize(("name", "side"), [*FAMILIES, *OTHER_FAMILIES])
def test_features_are_what_the_classifier_gets(name: str, side: int, quick_start: None) -> None:
    torch.manual_seed(0)
    whole, net = whole_network(name), torchvision_net(name, pretrained=True)
    fill(name, net, whole.state_dict(), NOWHERE)
    seen: list[Tensor] = []
    classifier(whole).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        features = net.network.eval()(images)
        whole(images)
    expected = seen[0] if seen[0].ndim == 2 else seen[0].relu().mean((2, 3))
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_heads(name: str, quick_start: None) -> None:
    backbone = load_backbone(name, "none", 96)
    features = backbone.network.train()(torch.randn(2, 3, 96, 96))
    assert isinstance(features, Tensor)
    assert features.shape == (2, backbone.n_features)
    for pretrained in (True, False):
        with torch.device("meta"):
            net = torchvision_net(name, pretrained)
        assert net.network.transform_input == pretrained, "inputs of pretrained weights alone"


@pytest.mark.parametrize(("name", "side", "n_features", "mean", "std"), [
    ("resnet18", 64, 512, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ("efficientnet_v2_l", 64, 1280, HALF, HALF),
    ("timm:test_vit", 160, 64, HALF, HALF),
])  # fmt: skip
def test_a_backbone_has_its_features_and_its_normalisation(
    name: str, side: int, n_features: int, mean: Triple, std: Triple
) -> None:
    with torch.device("meta"):
        backbone = load_backbone(name, "none", side)
    assert (backbone.name, backbone.n_features, backbone.weights_id) == (name, n_features, "random")
    assert (backbone.mean, backbone.std) == (mean, std)
    assert not backbone.network.training
    assert has_default_weights(name)


def test_random_weights_come_from_torchs_generator_and_loaded_ones_leave_it() -> None:
    def first_weight(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return next(load_backbone("shufflenet_v2_x0_5", "none", 64).network.parameters())

    assert torch.equal(first_weight(1), first_weight(1))
    assert not torch.equal(first_weight(1), first_weight(2))
    before = torch.get_rng_state()
    load_backbone("efficientnet_lite0", image_size=64)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "widths"), [("mlp", [1024, 512, 128, 32, 8, 3]), ("shared_mlp", [1024, 256])]
)
def test_the_articles_nets(name: str, widths: list[int]) -> None:
    backbone = load_backbone(name, "none", 16)
    _, *layers = backbone.network.children()
    assert [layer.in_features for layer in layers[::2]] == [3 * 16 * 16, *widths[:-1]]
    assert [layer.out_features for layer in layers[::2]] == widths
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU] * len(widths)
    assert backbone.n_features == widths[-1]
    assert backbone.mean == backbone.std == HALF
    assert not has_default_weights(name)
    message = f"{name} has no pretrained weights: use --mode scratch, --weights FILE or --weights n"
    with pytest.raises(BackboneError, match=message):
        load_backbone(name)


@pytest.mark.parametrize(("name", "side", "reason", "fitting"), [
    ("vit_b_32", 128, "Wrong image height!", 224),
    ("inception_v3", 32, "", 299),
    ("timm:vit_tiny_patch16_224", 96, "Input height", 224),
])  # fmt: skip
def test_a_size_that_does_not_fit(name: str, side: int, reason: str, fitting: int) -> None:
    message = rf"^{name} does not take {side} x {side} images \({reason}.*: use --image-size "
    with pytest.raises(BackboneError, match=f"{message}{fitting}$"), torch.device("meta"):
        load_backbone(name, "none", side)


ALL = "; must be timm:NAME for a NAME of timm.list_models(), or one of alexnet, "


@pytest.mark.parametrize(("name", "message"), [
    ("resnt18", "unknown backbone 'resnt18' (did you mean resnet18 or "),
    ("timm:resnet10x", "did you mean timm:resnet10t or "),
    ("resnet10t", "(did you mean timm:resnet10t?); must be timm:NAME "),
    ("", f"unknown backbone ''{ALL}"),
    *((name, f"unknown backbone '{name}'") for name in ("timm:", "timm:resnet18d.no_such",
      "timm:hf-hub:some/body", "fasterrcnn_resnet50_fpn")),
])  # fmt: skip
def test_an_unknown_name_is_refused_with_its_like(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=re.escape(message)):
        check_backbone_name(name)


def test_names_are_torchvisions_and_our_own() -> None:
    names = backbone_names()
    assert names == sorted(set(names))
    assert {*models.list_models(module=torchvision.models)} <= {*names}
    assert {"efficientnet_lite0", "mlp", "shared_mlp"} <= {*names}
    for name in ("timm:resnet10t", "timm:resnet10t.c3_in1k", "mlp", "vgg11"):
        check_backbone_name(name)


@pytest.mark.parametrize("name", ["mlp", "resnet18", "efficientnet_lite0", "timm:test_vit"])
def test_class_of_a_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = type(empty_network(name, 32, pretrained=False))
    with monkeypatch.context() as patch:
        patch.setattr("tl_core.models.backbones._build", None)
        assert network_class(name) is expected
    # One of timm's functions does not tell the class.
    monkeypatch.delitem(models.get_model_builder("resnet18").__annotations__, "return")
    assert network_class(name) is expected


def test_to_count_features_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def build(name: str, image_size: int, *, pretrained: bool) -> Headless:
        network = nn.Flatten()
        network.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
        return Headless(network, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 224)

    monkeypatch.setattr("tl_core.models.backbones._build", build)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert load_backbone("resnet18", "none", 8).n_features == 3 * 8 * 8
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
