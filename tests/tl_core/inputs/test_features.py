import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.conftest import SIDE, TINY
from tests.support.core.fake_gpu import fake_gpu
from tests.support.core.hostile_files import without_root
from tests.tl_core.inputs.conftest import built_elsewhere
from tl_core.config import Precision
from tl_core.data.caching.tables import growing_table
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.errors import InputError
from tl_core.inputs import features
from tl_core.inputs.features import (
    extract,
    feature_entry,
    load_features,
    most_in_chunk,
    run_batches,
    run_views,
)
from tl_core.inputs.resident import ResidentTables
from tl_core.models.backbones import Backbone, load_backbone
from tl_core.models.folding import fold_backbone

CPU = torch.device("cpu")


Load = Callable[..., NDArray[np.float32]]


@pytest.fixture
def load(images: ImageSet, backbone: Backbone, own_cache: Path) -> Load:
    """Loads features of `backbone`, or of another one."""

    def load_some(one: Backbone = backbone, **options: Any) -> NDArray[np.float32]:
        return load_features(images, one, own_cache, CPU, **options)

    return load_some


def count_runs(backbone: Backbone) -> list[int]:
    """The number of images of each forward pass from now on, but for those of one, which try."""
    runs: list[int] = []

    def count(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        runs.extend([len(inputs[0])] if len(inputs[0]) > 1 else [])

    backbone.network.register_forward_pre_hook(count)
    return runs


def directly(images: ImageSet, backbone: Backbone) -> NDArray[np.float32]:
    """Features without cache, batches or a memory format."""
    mean, std = (torch.tensor(t).view(3, 1, 1) for t in (backbone.mean, backbone.std))
    pixels = (torch.from_numpy(np.array(images.pixels)) / 255 - mean) / std
    with torch.no_grad():
        features: NDArray[np.float32] = backbone.network.eval()(pixels).numpy()
    return features


def test_features_are_those_of_eval_mode(images: ImageSet, backbone: Backbone, load: Load) -> None:
    expected = directly(images, backbone)
    backbone.network.train()
    runs = count_runs(backbone)
    found = load()
    assert found.shape == (40, backbone.n_features)
    assert found.dtype == np.float32
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert isinstance(found, np.memmap)
    before = found.copy()
    found[0] = 0  # What is written stays private.
    assert (load() == before).all()
    assert sum(runs) == 40, "a second load runs nothing"


@pytest.mark.parametrize("change", [
    {"name": "another"}, {"weights_id": "another"}, {"mean": (0.4, 0.4, 0.4)},
    {"std": (0.4, 0.4, 0.4)}, {"precision": "bf16"},
])  # fmt: skip
def test_each_backbone_has_its_own(backbone: Backbone, load: Load, change: dict[str, Any]) -> None:
    exact, other = load(), replace(backbone, **change)
    runs = count_runs(other)
    found = load(other)
    assert sum(runs) == 40
    assert found.dtype == np.float32
    assert (found != exact).any() == (change.keys() <= {"mean", "std", "precision"})
    if "precision" in change:
        np.testing.assert_allclose(found, exact, atol=0.05 * exact.std())


def test_other_weights_and_other_images_have_features_of_their_own(
    images: ImageSet, three_class_images: ImageSet, load: Load, own_cache: Path, tiny_weights: Path
) -> None:
    entries = torch.load(tiny_weights, weights_only=True)
    entries["conv1.0.weight"] *= 2
    file = own_cache.parent / tiny_weights.name
    torch.save(entries, file)
    other = load_backbone(TINY, str(file), SIDE)
    plain, found = load(), load(other)
    np.testing.assert_allclose(found, directly(images, other), atol=1e-5)
    assert (plain != found).any()
    assert len(load_features(three_class_images, other, own_cache, CPU)) == 60


@pytest.mark.parametrize("hflip", [False, True])
def test_a_picture_that_can_be_read_by_now_has_features(
    photo_folder: Path, backbone: Backbone, own_cache: Path, hflip: bool
) -> None:
    def load() -> tuple[ImageSet, NDArray[np.float32]]:
        source = folder_source(photo_folder)
        images = without_root(lambda: load_images(source, SIDE, own_cache, skip_bad_images=True))
        return images, load_features(images, backbone, own_cache, CPU, hflip)

    locked = photo_folder / "cat" / "02.png"
    locked.chmod(0)
    images, found = load()
    assert [name for name, _ in images.bad] == ["cat/02.png"]
    assert len(found) == 39 * (1 + hflip)
    locked.chmod(0o600)
    images, found = load()
    assert len(images.ids) == 40
    np.testing.assert_allclose(found[:40], directly(images, backbone), atol=1e-5)
    assert len(found) == 40 * (1 + hflip)


def test_an_extraction_that_stops_leaves_nothing(backbone: Backbone, load: Load) -> None:
    def stop(*_: object) -> None:
        raise RuntimeError("out of memory")

    hook = backbone.network.register_forward_pre_hook(stop)
    with pytest.raises(RuntimeError, match="out of memory"):
        load()
    hook.remove()
    assert load().any(axis=1).all()


@pytest.mark.parametrize("hflip", [False, True])
def test_an_extraction_that_was_stopped_goes_on(
    images: ImageSet, backbone: Backbone, load: Load, tmp_path: Path, hflip: bool,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The second chunk of the last table fails: the first one is kept, to the same bits."""
    monkeypatch.setattr(features, "_CHUNKS", (15, 4096))
    whole, ready, asked = load(hflip=hflip), fold_backbone(backbone, SIDE), list[list[int]]()

    def forward(chunks: list[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        for views in chunks:
            if views[0] == 40 * hflip + 15 and not asked:
                raise RuntimeError("stopped")
            asked.append(views.tolist()) if views[0] >= 40 * hflip else None
            yield extract(images, ready, CPU, views)
            if views[0] == 40 * hflip and len(asked) == 1:
                asked.clear()

    with pytest.raises(RuntimeError, match="stopped"):
        load_features(images, backbone, tmp_path / "other", CPU, hflip, forward=forward)
    asked.append([])
    capsys.readouterr()
    found = load_features(images, backbone, tmp_path / "other", CPU, hflip, forward=forward)
    assert [len(views) for views in asked] == [0, 15, 10]
    assert found.tobytes() == whole.tobytes()
    what = f"{backbone.name}, mirrored" if hflip else backbone.name
    told = capsys.readouterr().err
    assert re.fullmatch(rf"Features of {what}: 25 in \d+\.\d s, 15 were there\n", told), told


@pytest.mark.parametrize(("hflip", "waits_for"), [(False, False), (True, True), (True, False)])
def test_who_computes_the_same_is_waited_for_until_the_time_is_over(
    images: ImageSet, backbone: Backbone, load: Load, own_cache: Path, hflip: bool, waits_for: bool
) -> None:
    entry = feature_entry(images.key, backbone, own_cache, waits_for)
    with built_elsewhere(entry):
        load(hflip=hflip, end=0.0)


def test_mirror_images_are_behind_images(images: ImageSet, backbone: Backbone, load: Load) -> None:
    plain, runs = load(), count_runs(backbone)
    both = load(hflip=True)
    load(hflip=True)
    assert sum(runs) == 40  # Of the images themselves the features are there already.
    turned = replace(images, pixels=np.ascontiguousarray(images.pixels[..., ::-1]))
    assert (both[:40] == plain).all()
    np.testing.assert_allclose(both[40:], directly(turned, backbone), atol=1e-5)


def test_spread_work(images: ImageSet, backbone: Backbone, load: Load, tmp_path: Path) -> None:
    asked: list[int] = []
    ready = fold_backbone(backbone, SIDE)

    def spread(chunks: list[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        for views in chunks:
            asked.extend(views.tolist())
            yield extract(images, ready, CPU, views)

    found = load_features(images, backbone, tmp_path / "other", CPU, forward=spread)
    assert asked == list(range(40))
    assert (found == load()).all()


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("at", [0, 4])
def test_features_that_were_changed_are_computed_anew(
    images: ImageSet, backbone: Backbone, load: Load, own_cache: Path,
    caplog: pytest.LogCaptureFixture, hflip: bool, at: int,
) -> None:  # fmt: skip
    before = np.array(load(hflip=hflip))
    entry = feature_entry(images.key, backbone, own_cache, hflip)
    content = bytearray((entry / "features.npy").read_bytes())
    content[-1 - at] ^= 1
    (entry / "features.npy").write_bytes(content)
    runs = count_runs(backbone)
    assert (load(hflip=hflip, verify=False) != before).sum() == 1, "workers don't hash"
    again = load(hflip=hflip)
    assert caplog.messages == [f"warning: cache entry {entry} is built again: features.npy changed"]
    assert sum(runs) == 40, "of both views the plain ones are still there"
    assert (again == before).all()


def test_damaged_features_of_the_images_spoil_no_mirrored_ones(
    images: ImageSet, backbone: Backbone, load: Load, own_cache: Path
) -> None:
    before = np.array(load())
    file = feature_entry(images.key, backbone, own_cache) / "features.npy"
    os.truncate(file, file.stat().st_size // 2)
    assert (load(hflip=True)[:40] == before).all()


@pytest.mark.parametrize(
    ("hflip", "key"), [(False, "c13672c30789e1b471055487"), (True, "566bd5e70da57257ee284787")]
)
def test_a_key_does_not_change_between_versions(hflip: bool, key: str) -> None:
    normal = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    backbone = Backbone("resnet18", nn.Identity(), 512, *normal, "w sha256:12", "bf16")
    entry = feature_entry("abc-128-v2", backbone, Path("cache"), hflip)
    assert entry == Path("cache/features") / key


@pytest.mark.parametrize(
    ("precision", "end"),
    [("fp32", ""), ("fp16", r" Or is float16 too narrow: try --precision fp32\.")],
)
def test_an_image_of_which_no_finite_numbers_are_made_is_named(
    images: ImageSet, precision: Precision, end: str
) -> None:
    class Large(nn.Module):
        """Makes numbers that no format holds of the second image."""

        def forward(self, pixels: Tensor) -> Tensor:
            rows = pixels.new_ones(len(pixels), 2)
            rows[1] = torch.inf
            return rows

    network = Backbone("large", Large(), 2, (0.5,) * 3, (0.5,) * 3, "none", precision=precision)
    text = rf"^large makes no finite numbers of {images.ids[7]}: are its weights damaged\?{end}$"
    with pytest.raises(InputError, match=text):
        extract(images, network, torch.device("cpu"), np.array([3, 7]))


def test_the_images_are_shared_out_in_32_chunks_at_most(tmp_path: Path) -> None:
    """Of 2,081 images, chunks of 65 would leave one for a 33rd, and several devices would wait."""
    sizes = list[int]()

    def forward(chunks: list[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        for views in chunks:
            sizes.append(len(views))
            yield np.zeros((len(views), 1), np.float32)

    with growing_table(tmp_path, "rows.npy", np.float32, (2081, 1)) as table:
        for _ in run_views(np.arange(2081), 4096, forward, "Features", table):
            pass
    assert sizes == [66] * 31 + [35]


@pytest.mark.parametrize(("device", "side", "n_features", "most"), [
    ("cpu", 224, 2048, 256), ("cpu", 112, 2048, 1024), ("cpu", 32, 512, 4096),
    ("cpu", 448, 2048, 64), ("cpu", 224, 2**20, 32), ("cuda", 224, 2048, 4096),
    ("cuda", 224, 2**20, 32), ("cuda", 224, 2**26, 1),
])  # fmt: skip
def test_what_is_begun_at_once_is_little_on_a_cpu(
    backbone: Backbone, images: ImageSet, device: str, side: int, n_features: int, most: int
) -> None:
    wide = replace(backbone, n_features=n_features)
    large = replace(images, pixels=np.empty((0, 3, side, side), np.uint8))
    assert most_in_chunk(wide, large, torch.device(device)) == most


def test_a_cpu_is_given_so_many_at_once(
    images: ImageSet, backbone: Backbone, load: Load, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(features, "_PIECES", 1)
    monkeypatch.setattr(features, "_CHUNKS", (1, 4096))
    monkeypatch.setattr(features, "_CPU_PIXELS", 14 * SIDE**2)
    sizes = list[int]()

    def forward(chunks: list[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        for views in chunks:
            sizes.append(len(views))
            yield np.zeros((len(views), backbone.n_features), np.float32)

    load(forward=forward)
    load_features(images, backbone, tmp_path / "gpu", torch.device("cuda"), forward=forward)
    assert sizes == [14, 14, 12, 40]


def test_the_weights_may_need_the_room_of_the_tables(
    images: ImageSet, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, move = ResidentTables(), backbone.network.to
    monkeypatch.setattr("tl_core.inputs.features.RESIDENT", tables)

    def move_beside_tables(*to: Any, **how: Any) -> nn.Module:
        if tables.nbytes:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return move(*to, **how)

    monkeypatch.setattr(backbone.network, "to", move_beside_tables)
    with fake_gpu(monkeypatch, 10**9):
        assert tables.get("pixels", "of a trial", lambda: [images.pixels], CPU) is not None
        rows = run_batches(images, backbone, CPU, np.arange(40))
    np.testing.assert_allclose(rows, directly(images, backbone), atol=1e-5)
    assert not any(weights.is_inference() for weights in backbone.network.parameters())


def test_batches_are_whole_again_after_the_tables_are_given_up(
    images: ImageSet, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, sizes = ResidentTables(), list[int]()
    monkeypatch.setattr("tl_core.inputs.features.RESIDENT", tables)

    def run_beside_tables(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))
        if tables.nbytes:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    backbone.network.register_forward_pre_hook(run_beside_tables)
    with fake_gpu(monkeypatch, 10**9):
        assert tables.get("pixels", "of a trial", lambda: [images.pixels], CPU) is not None
        rows = run_batches(images, backbone, CPU, np.arange(40))
    assert sizes == [40, 20, 10, 5, 2, 1, 40]
    np.testing.assert_allclose(rows, directly(images, backbone), atol=1e-5)
