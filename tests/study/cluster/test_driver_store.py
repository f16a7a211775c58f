"""What nodes lack comes from the driver's cache whole, and what they leave lands on its disk."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from study.cluster import driver_store as module
from study.cluster.driver_store import DriverStore, RemoteStore, receive, start_driver_store
from study.trials.trial_context import TrialContext
from tests.support.core.entries import writes
from tl_core.data.caching.entries import MANIFEST, damage, publish
from tl_core.data.datasets import ImageSet

pytestmark = pytest.mark.integration


@pytest.fixture
def driver_store(ray_of_one_core: Path, own_cache: Path, tmp_path: Path) -> Iterator[Any]:
    own_cache.mkdir(exist_ok=True)
    handle = start_driver_store(own_cache, tmp_path / "study")
    yield handle
    ray.kill(handle)


def make_entry(entry: Path) -> None:
    def build(into: Path) -> None:
        (into / "large.npy").write_bytes(bytes(range(256)) * 300_000)  # 77 MB: in two pieces.
        (into / "empty.npy").touch()

    publish(entry, build)


def test_an_entry_arrives_as_it_was_built_and_once(
    driver_store: Any, own_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_entry(own_cache / "images" / "one")
    there = receive(driver_store, tmp_path / "node", "images/one")
    assert there == tmp_path / "node" / "images" / "one"
    assert damage(there) is None
    assert sorted(path.name for path in there.iterdir()) == [MANIFEST, "empty.npy", "large.npy"]
    sent = own_cache / "images" / "one"
    assert (there / MANIFEST).read_bytes() == (sent / MANIFEST).read_bytes()

    (there / "empty.npy").write_bytes(b"rot")  # The node fetches a damaged entry again.
    assert damage(receive(driver_store, tmp_path / "node", "images/one")) is None
    assert "is built again: empty.npy changed" in caplog.text

    shutil.rmtree(sent)  # It does not fetch an entry that is there.
    assert receive(driver_store, tmp_path / "node", "images/one") == there


def test_an_entry_that_the_node_has_made_of_other_files_is_replaced(
    driver_store: Any, own_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for cache, content in ((own_cache, b"12 images"), (tmp_path / "node", b"11 images")):
        publish(cache / "images/one", writes({"pixels.npy": content}))
    there = receive(driver_store, tmp_path / "node", "images/one")
    assert (there / "pixels.npy").read_bytes() == b"12 images"
    assert "is built again: that of the driver is another one" in caplog.text


def test_a_damaged_entry_of_the_driver_does_not_arrive(
    driver_store: Any, own_cache: Path, tmp_path: Path
) -> None:
    make_entry(own_cache / "images" / "one")
    (own_cache / "images" / "one" / "empty.npy").write_bytes(b"rot")
    with pytest.raises(OSError, match=r"images/one has not arrived whole: empty.npy changed"):
        receive(driver_store, tmp_path / "node", "images/one")
    assert not (tmp_path / "node" / "images" / "one").exists()


def test_what_is_left_lands_in_the_study_s_folder(driver_store: Any, tmp_path: Path) -> None:
    store = RemoteStore(driver_store, tmp_path / "study")
    store.write("checkpoints/1.ckpt", b"state")
    store.replace("winner", {"model.json": b"card"})
    assert (tmp_path / "study" / "checkpoints" / "1.ckpt").read_bytes() == b"state"
    assert (tmp_path / "study" / "winner" / "model.json").read_bytes() == b"card"
    assert store.read("checkpoints/1.ckpt") == b"state"
    store.remove("checkpoints/1.ckpt")
    with pytest.raises(FileNotFoundError):
        store.read("checkpoints/1.ckpt")


def test_a_full_disk_at_the_driver_is_known_as_one(driver_store: Any, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".1.ckpt.fresh").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        RemoteStore(driver_store, tmp_path / "study").write("1.ckpt", b"state")
    assert caught.value.errno == errno.ENOSPC


def test_a_store_that_dies_is_started_again(driver_store: Any, tmp_path: Path) -> None:
    store = RemoteStore(driver_store, tmp_path / "study")
    store.write("1.ckpt", b"state")
    ray.kill(driver_store, no_restart=False)
    assert store.read("1.ckpt") == b"state"


def test_a_context_attaches_images_that_its_node_lacks(
    driver_store: Any, images: ImageSet, own_cache: Path, tmp_path: Path
) -> None:
    name = images.path.relative_to(own_cache).as_posix()
    store = RemoteStore(driver_store, tmp_path / "study")
    context = TrialContext(
        tmp_path / "node", name, store, "val_log_loss", driver_store=driver_store
    )
    there = context.attach()
    assert there.path == tmp_path / "node" / name
    assert (there.pixels == images.pixels).all()
    assert context.attach() is there


def test_the_store_has_few_pieces_at_a_time(
    ray_of_one_core: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIECE", 4)
    monkeypatch.setattr(module, "_HELD", 2)
    (own_cache / "one").mkdir(parents=True)
    (own_cache / "one" / "file").write_bytes(b"0123456789")
    driver_store = DriverStore(own_cache, tmp_path)
    assert driver_store.sizes("one") == {"file": 10}
    first, second, third = (driver_store.piece("one", "file", start) for start in (0, 4, 8))
    assert [bytes(ray.get(p[0])) for p in (first, second, third)] == [b"0123", b"4567", b"89"]
    assert driver_store.piece("one", "file", 8) == third  # Nodes that fetch together share it.
    assert driver_store.piece("one", "file", 0) != first


def test_a_store_that_dies_while_it_sends_is_asked_again(
    driver_store: Any, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_entry(own_cache / "images" / "one")
    asked = []

    def dying(*what: Any) -> memoryview:
        asked.append(what)
        if len(asked) == 2:
            ray.kill(driver_store, no_restart=False)
        return piece(*what)

    piece = module._piece
    monkeypatch.setattr(module, "_piece", dying)
    assert damage(receive(driver_store, tmp_path / "node", "images/one")) is None
