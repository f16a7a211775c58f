"""What workers leave is read back as it was left, from a folder and from a bucket alike."""

import errno
import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from study.cluster.stores import (
    Bucket,
    Files,
    Folder,
    Storage,
    StoredFile,
    check_storage,
    contents,
    fill,
)
from study.records.ledger import read_records
from study.records.outputs import read_outputs
from tests.conftest import SIDE, TINY
from tests.support.buckets import s3_bucket
from tests.support.studies.builders import make_settings
from tests.support.studies.ray_runs import ray_runs
from tl_core.errors import InputError
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.training.checkpoints import Checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_bucket() as uri:
        yield uri


@pytest.fixture(params=["folder", "a folder's URI", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Folder | Bucket:
    if request.param == "folder":
        return Folder(tmp_path / "runs" / "one")
    uri = request.getfixturevalue("s3") if request.param == "s3" else tmp_path.as_uri()
    return Bucket(uri, f"study-{tmp_path.name}")


def test_files_are_read_as_they_were_last_written_until_they_are_removed(storage: Storage) -> None:
    storage.write("checkpoints/1.ckpt", b"one")
    storage.write("checkpoints/1.ckpt", b"two")
    storage.write("checkpoints/2.ckpt", b"")
    assert storage.read("checkpoints/1.ckpt") == b"two"
    assert storage.read("checkpoints/2.ckpt") == b""
    for _ in range(2):
        storage.remove("checkpoints/1.ckpt")
    for name in ("checkpoints/1.ckpt", "checkpoints/3.ckpt"):
        with pytest.raises(FileNotFoundError):
            storage.read(name)


def test_a_file_tells_when_it_was_written(storage: Folder | Bucket) -> None:
    assert storage.written("checkpoints/1.ckpt") == 0
    storage.write("checkpoints/1.ckpt", b"one")
    before = storage.written("checkpoints/1.ckpt")
    time.sleep(1.1)  # S3 counts seconds.
    storage.write("checkpoints/1.ckpt", b"two")
    assert time.time() > storage.written("checkpoints/1.ckpt") / 1e9 > before / 1e9 > 1e9


def test_a_folder_is_replaced_whole(storage: Storage) -> None:
    files = {"model.json": b"1", "mistakes/01.jpg": b"2"}
    storage.replace("winner", files)
    if isinstance(storage, Bucket):
        assert storage.folder("winner") == files
    storage.replace("winner", {"model.json": b"3"})
    assert storage.read("winner/model.json") == b"3"
    with pytest.raises(FileNotFoundError):
        storage.read("winner/mistakes/01.jpg")


def test_files_go_into_a_folder_and_come_out(tmp_path: Path) -> None:
    files = {"a": b"1", "b/c": b"2"}
    fill(tmp_path / "new", files)
    assert contents(tmp_path / "new") == files


def test_a_checkpoint_is_kept_there(storage: Storage) -> None:
    place = StoredFile(storage, "checkpoints/3.ckpt")
    assert not Checkpoint(place, {}).resumes
    save_checkpoint(place, {"identity": {"a": 1}})
    assert Checkpoint(place, {"a": 1}).resumes
    assert str(place) == f"{storage}/checkpoints/3.ckpt"


def test_a_folder_tells_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / ".1.ckpt.fresh").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        Folder(tmp_path).write("1.ckpt", b"one")
    assert caught.value.errno == errno.ENOSPC


def test_a_kill_during_a_write_to_a_disk_that_nodes_share_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: int) -> None:
        raise KeyboardInterrupt

    bucket = Bucket(tmp_path.as_uri(), "a b")
    bucket.write("checkpoints/1.ckpt", b"one")
    with monkeypatch.context() as patched:
        patched.setattr("tl_core.files.os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            bucket.write("checkpoints/1.ckpt", b"another")
    assert bucket.read("checkpoints/1.ckpt") == b"one"
    bucket.write("checkpoints/1.ckpt", b"another")
    assert bucket.folder("") == {"checkpoints/1.ckpt": b"another"}


@pytest.mark.parametrize(("uri", "why"), [
    ("file:///a b", "--storage file:///a b: Cannot parse URI"),
    ("abfss://container/x", "--storage abfss://container/x: "),
    ("file:///proc/nothing", "--storage file:///proc/nothing: "),
])  # fmt: skip
def test_where_nothing_can_be_kept_is_a_fault(uri: str, why: str) -> None:
    settings = make_settings(data="photos", storage=uri, name="mine")
    with pytest.raises(InputError, match=re.escape(why)):
        check_storage(settings)


def test_a_bucket_that_is_not_there_is_a_fault(s3: str) -> None:
    settings = make_settings(data="photos", storage=s3.replace("studies", "nowhere"), name="mine")
    why = "there is no bucket nowhere; a study makes none, so make it first"
    with pytest.raises(InputError, match=f"^--storage s3://nowhere/mine: {why}$"):
        check_storage(settings)


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_new_study_takes_no_folder_that_another_has_filled(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    uri = request.getfixturevalue("s3") if kind == "s3" else tmp_path.as_uri()
    settings = make_settings(data="photos", storage=uri, name="filled")
    bucket = Bucket(uri, "filled")
    check_storage(settings, new=True)
    files, root = fs.FileSystem.from_uri(uri)  # The check leaves nothing.
    left = files.get_file_info(fs.FileSelector(root, allow_not_found=True))
    assert not [f for f in left if "tl-study-" in f.base_name or f.base_name == "filled"]
    bucket.write("checkpoints/1.ckpt", b"one")
    why = "has another study's files; choose another name or remove them"
    with pytest.raises(InputError, match=re.escape(f"--name filled: {bucket} {why}")):
        check_storage(settings, new=True)
    check_storage(settings)  # As one does that goes on.
    check_storage(settings.model_copy(update={"name": "fill"}), new=True)
    bucket.remove("checkpoints/1.ckpt")  # An empty folder is left, also in a bucket.
    check_storage(settings, new=True)


OLD = {"mistakes/01.jpg": b"1", "mistakes/02.jpg": b"2", CARD: b"of 3", WEIGHTS: b"3", "a": b"4"}
NEW = {"mistakes/01.jpg": b"5", CARD: b"of 6", WEIGHTS: b"6", "a": b"7", "z": b"8"}


def kill_after(steps: int, patched: pytest.MonkeyPatch) -> None:
    """Have buckets do so many things, and no more."""
    left = itertools.repeat(None, steps)

    def counted(act: Callable[..., None]) -> Callable[..., None]:
        def one(*given: Any) -> None:
            if next(left, "none") == "none":
                raise KeyboardInterrupt
            act(*given)

        return one

    for what in ("write", "remove"):
        patched.setattr(Bucket, what, counted(getattr(Bucket, what)))


@pytest.mark.parametrize("before", [{}, OLD])
@pytest.mark.parametrize("steps", range(7))
def test_a_kill_while_a_winner_is_replaced_leaves_no_mixture_that_loads(
    before: Files, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(tmp_path.as_uri(), "mine")
    bucket.replace("winner", before)
    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        kill_after(steps, patched)
        bucket.replace("winner", NEW)
    left = {} if bucket.is_empty() else bucket.folder("winner")
    loads = left.get(CARD) == b"of " + left.get(WEIGHTS, b"nothing")
    assert not loads or left in (before, NEW)
    assert (left == NEW) == (steps >= 6 - (not before))
    bucket.replace("winner", NEW)
    assert bucket.folder("winner") == NEW


@pytest.mark.integration
def test_a_study_keeps_checkpoints_and_winner_in_a_bucket(
    s3: str, photo_folder: Path, tiny_weights: Path
) -> None:
    words = [
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--mode", "finetune", "--train-ratio", 0.4, "--epochs", 3, "--min-steps", 0, "--trials", 2,
        "--confirm-seeds", 1, "--name", "mine", "--storage", s3, "--offline",
    ]  # fmt: skip
    with ray_runs() as runs:
        runs.succeed(runs.start(*words))
    study, there = Path("runs/mine"), Bucket(s3, "mine")
    assert {r.status for r in read_records(study)} == {"done"}
    # Of ended trials no checkpoint is left, in either place.
    assert not (study / "checkpoints").exists()
    kept = there.folder("")
    assert {name.partition("/")[0] for name in kept} == {"winner", "outputs"}
    for record in read_records(study):  # The report reads them in the study's folder.
        outputs = read_outputs(study, record.trial, record.outputs) if record.outputs else None
        assert (outputs is not None) is (record.kind in ("confirm", "control"))
    assert there.folder("winner") == contents(study / "winner")
    assert "winner/model.safetensors" in kept
