"""torchvision's and timm's default weights: found in their caches, or downloaded to them."""

import re
import socket
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from tests.conftest import TINY
from tests.support.core.weights_files import SIDE, Trap, assert_same_entries, sha256
from tl_core.models import weights
from tl_core.models.backbones import load_backbone
from tl_core.models.weights import BackboneError

TINY_TIMM = "test_resnet"


CLOSED = "http://127.0.0.1:1"
"""Nothing listens at this address."""


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path, entries: object, base: str = "") -> Path:
    """Save a file whose name carries its hash, as torchvision's do; the address is under `base`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(entries, folder / "new")
    file = (folder / "new").rename(folder / f"net-{sha256(folder / 'new')[:8]}.pth")
    url = f"{base}/{file.name}" if base else file.as_uri()
    monkeypatch.setattr(weights, "torchvision_url", lambda _: url)
    return file


def checkpoints(tmp_path: Path) -> Path:
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_every_torchvision_address_carries_a_hash() -> None:
    for name in models.list_models(module=models):
        assert re.search(r"-[0-9a-f]{8,}\.pth$", weights.torchvision_url(name)), name


def test_a_cached_file_is_loaded_or_refused_if_tampered_with_and_no_code_runs(
    tmp_path: Path, whole: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = publish(monkeypatch, checkpoints(tmp_path), whole.state_dict(), CLOSED)
    backbone = load_backbone(TINY, image_size=SIDE)
    assert_same_entries(backbone.network, whole.state_dict())
    assert backbone.weights_id == f"{file.name} sha256:{sha256(file)[:16]}"
    torch.save({"fc.weight": Trap(tmp_path / "sprung")}, file)
    message = (
        f"{file} is not the file it should be: its SHA-256 should begin with {file.stem[4:]}, "
        f"found {sha256(file)[:8]}; delete it to download again"
    )
    with pytest.raises(BackboneError, match=re.escape(message)):
        load_backbone(TINY, image_size=SIDE)
    assert not (tmp_path / "sprung").exists()


def test_verified(tmp_path: Path, whole: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    file = publish(monkeypatch, tmp_path / "site", whole.state_dict())
    assert_same_entries(load_backbone(TINY, image_size=SIDE).network, whole.state_dict())
    (cached,) = checkpoints(tmp_path).iterdir()
    assert cached.name == file.name
    cached.unlink()
    file.write_bytes(b"something else")
    with pytest.raises(BackboneError, match=r"cannot be downloaded \(invalid hash value"):
        load_backbone(TINY, image_size=SIDE)
    assert list(checkpoints(tmp_path).iterdir()) == []


def test_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{CLOSED}/net-01234567.pth"
    monkeypatch.setattr(weights, "torchvision_url", lambda _: url)
    file = checkpoints(tmp_path) / "net-01234567.pth"
    start = f"no weights for {TINY}: {file} does not exist, and {url} cannot be downloaded ("
    end = (
        f"Download it on another machine and put it in {file.parent}, or name the file with "
        "--weights FILE, or use --backbone efficientnet_lite0, which needs no download"
    )
    with pytest.raises(BackboneError, match=f"^{re.escape(start)}.*{re.escape(end)}$"):
        load_backbone(TINY, image_size=SIDE)
    assert list(file.parent.iterdir()) == []


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/net-01234567.pth"
        monkeypatch.setattr(weights, "torchvision_url", lambda _: url)
        with pytest.raises(BackboneError, match=r"cannot be downloaded \(.*timed out"):
            load_backbone(TINY, image_size=SIDE)
    assert socket.getdefaulttimeout() is None
    assert list(checkpoints(tmp_path).iterdir()) == []


def cache_in_hub(tmp_path: Path, entries: dict[str, Tensor]) -> Path:
    """Lay out the Hugging Face cache: a snapshot that links to a blob named by its SHA-256."""
    repo = tmp_path / "hub" / f"models--timm--{TINY_TIMM}.r160_in1k"
    for folder in ("blobs", "refs", "snapshots/abc"):
        (repo / folder).mkdir(parents=True)
    save_file(entries, repo / "new")
    blob = (repo / "new").rename(repo / "blobs" / sha256(repo / "new"))
    (repo / "refs" / "main").write_text("abc")
    (repo / "snapshots" / "abc" / "model.safetensors").symlink_to(blob)
    return blob


def test_a_cached_hub_file_is_verified_and_loaded(tmp_path: Path) -> None:
    expected = timm.create_model(TINY_TIMM).state_dict()
    blob = cache_in_hub(tmp_path, expected)
    backbone = load_backbone(f"timm:{TINY_TIMM}", image_size=SIDE)
    assert_same_entries(backbone.network, expected)
    label = f"timm/{TINY_TIMM}.r160_in1k/model.safetensors"
    assert backbone.weights_id == f"{label} sha256:{blob.name[:16]}"


@pytest.mark.parametrize("linked", [True, False])
def test_a_pickle_in_the_hub_cache_does_not_run(tmp_path: Path, linked: bool) -> None:
    blob = cache_in_hub(tmp_path, {"conv1.weight": torch.zeros(1)})
    torch.save({"conv1.weight": Trap(tmp_path / "sprung")}, blob)
    message = (
        f"{blob} is not the file it should be: its SHA-256 should begin with {blob.name}, found "
    )
    if not linked:  # As on disks without links, where no name tells the hash.
        (file,) = tmp_path.rglob("model.safetensors")
        blob.replace(file)
        message = f"is not for timm:{TINY_TIMM}"
    with pytest.raises(BackboneError, match=re.escape(message)):
        load_backbone(f"timm:{TINY_TIMM}", image_size=SIDE)
    assert not (tmp_path / "sprung").exists()


def test_a_hub_file_with_an_entry_missing_is_refused(tmp_path: Path) -> None:
    entries = timm.create_model(TINY_TIMM).state_dict()
    del entries["conv1.0.weight"]
    cache_in_hub(tmp_path, entries)
    with pytest.raises(BackboneError, match=f"is not for timm:{TINY_TIMM} .RuntimeError"):
        load_backbone(f"timm:{TINY_TIMM}", image_size=SIDE)


def test_without_the_hub_the_way_out_is_told(tmp_path: Path) -> None:
    repo = tmp_path / "hub" / f"models--timm--{TINY_TIMM}.r160_in1k"
    start = f"no weights for timm:{TINY_TIMM}: {repo}/snapshots/*/model.safetensors does"
    with pytest.raises(BackboneError, match=re.escape(start)) as caught:
        load_backbone(f"timm:{TINY_TIMM}", image_size=SIDE)
    for hint in (f"/timm/{TINY_TIMM}.r160_in1k/", f"to {repo}", "--weights FILE", "_lite0"):
        assert hint in str(caught.value)


def test_networks_without_usable_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "timm:vovnet39a has no default weights to download: use --weights FILE"
    with pytest.raises(BackboneError, match=message):
        load_backbone("timm:vovnet39a")
    monkeypatch.setattr(weights, "torchvision_url", lambda _: "http://127.0.0.1/net.pth")
    with pytest.raises(BackboneError, match=r"net\.pth carries no hash to verify it by"):
        load_backbone(TINY, image_size=SIDE)
