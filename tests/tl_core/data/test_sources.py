import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.core.hostile_files import put
from tl_core.data import demo
from tl_core.data.sources import demo_source, find_source, folder_source
from tl_core.errors import InputError


def plant(root: Path, *names: str) -> Path:
    """Put a 2-pixel PNG at each of `names` below `root`, whatever its suffix."""
    Image.new("RGB", (2, 1), "red").save(picture := io.BytesIO(), "png")
    for name in names:
        put(root / name, picture.getvalue())
    return root


def test_labels_follow_the_sorted_class_names(tmp_path: Path) -> None:
    source = folder_source(plant(tmp_path, "dog/b.png", "dog/a.png", "cat/x/y/c.png", "cat/d.png"))
    assert source.name == str(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.ids == ("cat/d.png", "cat/x/y/c.png", "dog/a.png", "dog/b.png")
    assert source.labels == (0, 0, 1, 1)
    assert np.asarray(source.read(0, 99)).tolist() == [[[255, 0, 0]] * 2]


def test_only_sidecars_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/2.txt", "cat/.hidden.png", "cat/.dir/3.png", ".git/4.png")
    plant(tmp_path, "__MACOSX/cat/5.png", "cat/@eaDir/6.png", "System Volume Information/7.png")
    plant(tmp_path, "cat/Thumbs.db", "dog/desktop.ini", "dog/.DS_Store", "cat/$RECYCLE.BIN/8.png")
    assert folder_source(plant(tmp_path, "stray.png")).ids == ("cat/1.png", "dog/2.txt")


def test_links_into_a_shared_store_are_followed(tmp_path: Path) -> None:
    root, store = tmp_path / "photos", tmp_path / "store"
    plant(store, "shelf/1.png", "shelf/deep/2.png", "3.png")
    plant(root, "cat/4.png")
    (root / "cat" / "shelf").symlink_to(store / "shelf")
    (root / "cat" / "a.png").symlink_to(store / "3.png")
    (root / "dog").symlink_to(store)
    source = folder_source(root)
    cats = ("cat/4.png", "cat/a.png", "cat/shelf/1.png", "cat/shelf/deep/2.png")
    assert source.ids == (*cats, "dog/3.png", "dog/shelf/1.png", "dog/shelf/deep/2.png")
    assert source.labels == (0, 0, 0, 0, 1, 1, 1), "a picture in two classes counts in both"
    assert np.asarray(source.read(1, 32)).shape == (1, 2, 3)


@pytest.mark.parametrize("target", [".", "..", "loop"])
def test_a_link_back_up_is_not_a_class(tmp_path: Path, target: str) -> None:
    root = plant(tmp_path / "photos", "cat/1.png", "dog/2.png")
    (root / "loop").symlink_to(target)
    assert folder_source(root).classes == ("cat", "dog")


def assert_refused(root: Path, *message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message[0])) as caught:
        folder_source(root)
    assert tuple(map(str, caught.value.faults)) == message


EXPECTED = "; a folder, a table (.csv, .tsv, .parquet), demo or oxford-pet is expected"
FEW = "needs one sub-folder per class, two or more; found "


@pytest.mark.parametrize(("name", "planted", "why"), [
    ("no", (), f"does not exist{EXPECTED}"),
    ("loop", (), f"does not exist{EXPECTED}"),
    ("a.png", ("a.png",), f"is a file, not a folder{EXPECTED}"),
    ("table.txt", ("table.txt",), f"is a file, not a folder{EXPECTED}"),
    *((name, (name,), "is an archive; unpack it and name the unpacked folder")
      for name in ("photos.zip", "photos.tar.gz", "photos.tgz", "PHOTOS.ZIP", "photos.7z")),
    ("", (), f"{FEW}none"),
    ("", ("cat/1.png",), f"{FEW}only 'cat'"),
    ("", ("1.txt",), f"{FEW}none"),
])  # fmt: skip
def test_other_folders(tmp_path: Path, name: str, planted: tuple[str, ...], why: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    root = plant(tmp_path, *planted) / name
    assert_refused(root, f"data folder {root} {why}")


def test_all_faults_of_class_folders_are_in_one_error(tmp_path: Path) -> None:
    plant(tmp_path, "caf\u00e9/1.png", "cafe\u0301/2.png", "Cafe/3.png", "dog/Thumbs.db")
    message = (
        r"class folders 'cafe\u0301' and 'caf\xe9' have the same name in two encodings "
        "(Unicode NFC and NFD); merge them, or rename one"
    )
    empty = f"class folder {tmp_path / 'dog'} has no files: add some, or --exclude dog leaves the"
    assert_refused(tmp_path, message, f"{empty} class out")


def test_many_empty_classes_are_counted(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png")
    for number in range(1000):
        (tmp_path / f"{number:04d}").mkdir()
    with pytest.raises(InputError, match=r"--exclude 0019 leaves .*\nand 980 more$"):
        folder_source(tmp_path)


@pytest.mark.timeout(30)
def test_a_pipe_among_files_without_endings_is_not_waited_for(tmp_path: Path) -> None:
    plant(tmp_path, "a/x", "b/x")
    os.mkfifo(tmp_path / "a" / "0pipe")
    assert folder_source(tmp_path).ids == ("a/0pipe", "a/x", "b/x")


def test_the_fingerprint_changes_with_the_files_alone(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/2.png")
    file = tmp_path / "cat" / "1.png"
    state = file.stat()

    def fingerprint() -> str:
        return folder_source(tmp_path).fingerprint

    assert fingerprint() == (plain := fingerprint())
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    later = fingerprint()
    file.write_bytes(file.read_bytes() + b" ")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    longer = fingerprint()
    file = file.rename(file.with_name("3.png"))
    renamed = fingerprint()
    (tmp_path / "cat").rename(tmp_path / "cow")
    of_cows = fingerprint()
    plant(tmp_path, "cow/4.png")
    assert len({plain, later, longer, renamed, of_cows, fingerprint()}) == 6


def test_the_demo_needs_no_files() -> None:
    source = demo_source()
    assert source.classes == ("cat", "dog")
    assert source.labels == (0, 1) * 300
    assert (source.ids[0], source.ids[-1]) == ("drawn-0-00000", "drawn-0-00599")
    assert (np.asarray(source.read(1, 32)) == np.asarray(demo.draw(1, 32))).all()
    assert source.fingerprint == demo.DRAWING


def test_names_of_sources(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = photo_folder.parent
    monkeypatch.setenv("HOME", str(home))
    assert find_source("demo", home).ids[0] == "drawn-0-00000"
    assert find_source(str(photo_folder), home).classes == ("cat", "dog")
    assert find_source("~/photos", home).name == str(photo_folder)
