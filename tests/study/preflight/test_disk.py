import re
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from study.config.settings import Settings
from study.preflight.disk import Need, cache_needs, disk_faults, out_needs, room_faults, store_needs
from study.preflight.torch_checks import frozen_backbone
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import make_settings
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import Source, folder_source
from tl_core.errors import Fault
from tl_core.inputs.features import load_features
from tl_core.inputs.prefix import cut_backbone, load_activations
from tl_core.models.backbones import Backbone, load_backbone

IMAGES = 40 * 3 * SIDE * SIDE
FEATURES = 40 * 1024 * 4
"""Of shufflenet's 1,024 features, float32."""
OWN = 16_000_000
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def source(photo_folder: Path) -> Source:
    return folder_source(photo_folder)


@pytest.fixture
def network(tiny_weights: Path) -> Backbone:
    return frozen_backbone(ask(tiny_weights))


def ask(weights: Path | str | None = None, **given: Any) -> Settings:
    fixed = {"data": "photos", "backbone": TINY, "image_size": SIDE}
    return make_settings(**fixed | ({"weights": str(weights)} if weights else {}) | given)


def sizes(needs: Any) -> dict[str, int]:
    return {need.what: need.size for need in needs}


@pytest.mark.parametrize(("given", "features"), [
    ({}, FEATURES),
    ({"augment": "flip"}, 3 * FEATURES),
    ({"mode": ["lp_ft"]}, FEATURES),
    ({"mode": ["finetune", "scratch"]}, 0),
    # Of the search, of the repeats, and five fresh ones.
    ({"weights": "none", "confirm_seeds": 5}, 7 * FEATURES),
    ({"weights": "none", "mode": ["freeze", "lp_ft"]}, 9 * FEATURES),
    ({"weights": "none", "confirm": False, "augment": "flip"}, 3 * FEATURES),
    ({"weights": "none", "debug": True}, FEATURES),
])  # fmt: skip
def test_an_empty_cache_needs_images_and_features(
    source: Source, network: Backbone, tiny_weights: Path, given: dict[str, Any], features: int
) -> None:
    words: dict[str, Any] = {"weights": tiny_weights, "mode": ["freeze"]}
    settings = ask(**words | given)
    needed = {"decoded images": IMAGES}
    assert sizes(cache_needs(settings, source, None)) == needed
    needed |= {"features": features} if features else {}
    assert sizes(cache_needs(settings, source, network)) == needed


def test_what_is_in_the_cache_is_not_needed(
    source: Source, network: Backbone, tiny_weights: Path, own_cache: Path
) -> None:
    plain, both = (ask(tiny_weights, augment=augment) for augment in ("none", "flip"))
    images: ImageSet = load_images(source, SIDE, own_cache)
    assert sizes(cache_needs(plain, source, network)) == {"features": FEATURES}
    load_features(images, network, own_cache, torch.device("cpu"))
    assert sizes(cache_needs(plain, source, network)) == {}
    assert sizes(cache_needs(both, source, network)) == {"features": 2 * FEATURES}
    load_features(images, network, own_cache, torch.device("cpu"), hflip=True)
    assert sizes(cache_needs(both, source, network)) == {}


@pytest.fixture
def mlp() -> Backbone:
    return load_backbone("shared_mlp", "none", 32)


# 3 * 32 * 32 inputs to 1,024 and these to 256, with biases, float32.
NET = 4 * (3072 * 1024 + 1024 + 1024 * 256 + 256)


def test_a_folder_needs_room_for_the_checkpoints_of_trials_at_once(mlp: Backbone) -> None:
    settings = ask(mode=["scratch"], trials=64)
    assert sizes(out_needs(settings, mlp, at_once=8)) == {
        "the study's own files": OWN,
        "the winner": NET,
        "checkpoints of 8 trials": 8 * 2 * 3 * NET,
    }
    few = ask(mode=["scratch"], trials_per_gpu=2, trials=3, train_ratio=[0.1])
    assert sizes(out_needs(few, mlp, 4))["checkpoints of 3 trials"] == 3 * 2 * 3 * NET
    frozen = ask("none", mode=["freeze"])
    assert set(sizes(out_needs(frozen, mlp, 0))) == {"the study's own files", "the winner"}
    assert sizes(out_needs(ask("none", debug=True), mlp, 0)) == {"the study's own files": OWN}


def test_checkpoints_of_a_resumed_study_need_no_more_room(mlp: Backbone, tmp_path: Path) -> None:
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    (tmp_path / "mine" / "checkpoints" / "3.ckpt").write_bytes(bytes(1000))
    settings = ask(mode=["scratch"], trials=1, train_ratio=[0.1], out=tmp_path, name="mine")
    assert sizes(out_needs(settings, mlp, 4))["checkpoints of 1 trial"] == 2 * 3 * NET - 1000


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 100 MB free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 9 * 10**8, 10**8))


@pytest.mark.usefixtures("free")
def test_folders_of_one_disk_share_its_room() -> None:
    images = Need("--cache", Path("c"), "decoded images", 60 * 10**6, "a smaller x")
    features = Need("--cache", Path("c"), "features", 30 * 10**6)
    files = Need("--out", Path("runs/new"), "files", 20 * 10**6)
    assert room_faults([images, features]) == []
    assert [*map(str, room_faults([images, features, files]))] == [
        "--cache c and --out runs/new: the disk has 100.0 MB free, 110.0 MB are needed (60.0 MB "
        "for decoded images, 30.0 MB for features, 20.0 MB for files); use another --cache or "
        "another --out or a smaller x"
    ]


@pytest.mark.usefixtures("free")
def test_a_study_that_does_not_fit_is_refused(source: Source, own_cache: Path) -> None:
    assert disk_faults(ask(mode=["scratch"], image_size=224), source, None, 0) == []
    [fault] = disk_faults(ask(mode=["scratch"], image_size=1024), source, None, 0)
    assert re.search(r"cache and --out runs .*: .* 145\.8 MB are needed", str(fault))
    assert not own_cache.exists()


def test_a_store_in_a_file_needs_room() -> None:
    where = Path.cwd() / "new"
    needed = [Need("--tracking-uri", where, "MLflow's runs", 4_000_000)]
    assert [*store_needs(ask(tracking_uri="sqlite:///new/runs.db"))] == needed
    for settings in (ask(offline=True), ask(tracking_uri="http://localhost:5000")):
        assert [*store_needs(settings)] == []


def test_only_a_cache_that_lacks_something_must_be_writable(
    source: Source, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ask(mode=["scratch"])
    own_cache.write_text("")
    why = f"{own_cache}: {own_cache} is not a folder"
    assert disk_faults(settings, source, None, 0) == [Fault("--cache", why)]
    own_cache.unlink()
    load_images(source, SIDE, own_cache)
    monkeypatch.setattr("study.preflight.disk.folder_faults", lambda *_: ["read-only"])
    assert disk_faults(settings, source, None, 0) == []


def test_partial_fine_tuning_needs_room_for_activations(
    source: Source, network: Backbone, tiny_weights: Path, own_cache: Path
) -> None:
    def need(**given: Any) -> int:
        words: dict[str, Any] = {"weights": tiny_weights, "mode": ["partial"]}
        settings = ask(**words | given)
        return sizes(cache_needs(settings, source, network)).get("activations", 0)

    # At 32 px the last stage gets 96 channels of 2 x 2, and the one below 48 of 4 x 4; float16.
    last, below = 40 * 2 * 96 * 4, 40 * 2 * 48 * 16
    assert need() == last
    assert need(unfreeze=["1", "2"]) == last + below
    assert need(augment="flip") == 2 * last
    # The search's network, those of three repeats, and five fresh ones.
    assert need(weights="none") == 9 * last
    images = load_images(source, SIDE, own_cache)
    prefix, _ = cut_backbone(network, 1, SIDE)
    load_activations(images, prefix, own_cache, torch.device("cpu"))
    assert need() == 0
    assert need(unfreeze=["2", "1"], augment="flip") == last + 2 * below
