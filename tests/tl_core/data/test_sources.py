import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_core.data import demo
from tl_core.data.sources import demo_source, find_source, folder_source
from tl_core.errors import InputError


def plant(root: Path, *names: str) -> Path:
    """Put a 2-pixel PNG at each of `names` below `root`, whatever its suffix."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 1), "red").save(path, "png")
    return root


def test_labels_follow_the_sorted_class_names(tmp_path: Path) -> None:
    source = folder_source(plant(tmp_path, "dog/b.png", "dog/a.png", "cat/c.png"))
    assert source.name == str(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.ids == ("cat/c.png", "dog/a.png", "dog/b.png")
    assert source.labels == (0, 1, 1)
    assert np.asarray(source.read(0, 99)).tolist() == [[[255, 0, 0]] * 2]


def test_files_may_lie_at_any_depth(tmp_path: Path) -> None:
    source = folder_source(plant(tmp_path, "cat/x/y/1.png", "cat/2.png", "dog/z/3.png"))
    assert source.ids == ("cat/2.png", "cat/x/y/1.png", "dog/z/3.png")
    assert source.labels == (0, 0, 1)


def test_sidecars_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/2.png", "cat/.hidden.png", "cat/.dir/3.png", ".git/4.png")
    plant(tmp_path, "__MACOSX/cat/5.png", "cat/@eaDir/6.png", "System Volume Information/7.png")
    plant(tmp_path, "cat/Thumbs.db", "dog/desktop.ini", "dog/.DS_Store", "stray.png")
    assert folder_source(tmp_path).ids == ("cat/1.png", "dog/2.png")


def test_a_file_of_another_kind_is_not_passed_over(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/2.png", "dog/notes.txt")
    assert "dog/notes.txt" in folder_source(tmp_path).ids


NAMES = (
    *(
        "two words",
        "grå kött",
        "猫",
        "\u0642\u0637\u0629",
        "\U0001f408",
        "l'été",
        'the "best"',
        "a=b",
    ),
    *("[x]", "50%", "-r", "1,2", "a\nb", "<script>", "a\u2215b", "Zebra", "caf\udce9"),
)


@pytest.mark.parametrize("name", NAMES)
def test_class_names_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    source = folder_source(plant(tmp_path, f"{name}/1.png", "zebra/2.png"))
    assert set(source.classes) == {name, "zebra"}
    assert f"{name}/1.png" in source.ids


def test_links_into_a_shared_store_are_followed(tmp_path: Path) -> None:
    plant(tmp_path, "store/shelf/1.png", "store/2.png", "photos/dog/3.png")
    (tmp_path / "photos" / "cat").mkdir()
    (tmp_path / "photos" / "cat" / "shelf").symlink_to(tmp_path / "store" / "shelf")
    (tmp_path / "photos" / "cat" / "a.png").symlink_to(tmp_path / "store" / "2.png")
    source = folder_source(tmp_path / "photos")
    assert source.ids == ("cat/a.png", "cat/shelf/1.png", "dog/3.png")
    assert source.read(1, 32).size == (2, 1)


def test_a_photo_in_two_classes_counts_in_both(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "dog" / "1.png").symlink_to(tmp_path / "cat" / "1.png")
    source = folder_source(tmp_path)
    assert source.ids == ("cat/1.png", "dog/1.png", "dog/2.png")
    assert source.labels == (0, 1, 1)


@pytest.mark.parametrize("target", [".", "..", "loop"])
def test_a_link_back_up_is_not_a_class(tmp_path: Path, target: str) -> None:
    root = plant(tmp_path / "photos", "cat/1.png", "dog/2.png")
    (root / "loop").symlink_to(target)
    assert folder_source(root).classes == ("cat", "dog")


def test_a_class_may_be_a_link_to_a_folder_elsewhere(tmp_path: Path) -> None:
    plant(tmp_path, "photos/cat/1.png", "elsewhere/2.png")
    (tmp_path / "photos" / "dog").symlink_to(tmp_path / "elsewhere")
    assert folder_source(tmp_path / "photos").ids == ("cat/1.png", "dog/2.png")


@pytest.mark.parametrize("target", ["nowhere", "lost.png"])
def test_a_link_to_no_file_fails_when_it_is_read(tmp_path: Path, target: str) -> None:
    plant(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "cat" / "lost.png").symlink_to(target)
    source = folder_source(tmp_path)
    assert source.ids == ("cat/1.png", "cat/lost.png", "dog/2.png")
    with pytest.raises(OSError, match=r"lost\.png"):
        source.read(1, 32)


def assert_refused(root: Path, *message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message[0])) as caught:
        folder_source(root)
    assert tuple(map(str, caught.value.faults)) == message


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    root = tmp_path / "no"
    message = f"data folder {root} does not exist; a folder, demo or oxford-pet is expected"
    assert_refused(root, message)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    root = plant(tmp_path, "a.png") / "a.png"
    message = f"{root} is a file, not a folder; a folder, demo or oxford-pet is expected"
    assert_refused(root, f"data folder {message}")


@pytest.mark.parametrize(
    ("names", "found"), [((), "none"), (("cat/1.png",), "only 'cat'"), (("1.png",), "none")]
)
def test_fewer_than_two_classes_are_refused(
    tmp_path: Path, names: tuple[str, ...], found: str
) -> None:
    plant(tmp_path, *names)
    message = f"data folder {tmp_path} needs one sub-folder per class, two or more; found {found}"
    assert_refused(tmp_path, message)


@pytest.mark.parametrize(
    "name", ["photos.zip", "photos.tar", "photos.tar.gz", "photos.tgz", "PHOTOS.ZIP", "photos.7z"]
)
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    root = plant(tmp_path, name) / name
    message = "is an archive; unpack it and name the unpacked folder"
    assert_refused(root, f"data folder {root} {message}")


def test_a_loop_of_links_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    root = tmp_path / "loop"
    message = f"data folder {root} does not exist; a folder, demo or oxford-pet is expected"
    assert_refused(root, message)


def test_names_that_read_the_same_are_told(tmp_path: Path) -> None:
    plant(tmp_path, "caf\u00e9/1.png", "cafe\u0301/2.png", "Cafe/3.png")
    (tmp_path / "dog").mkdir()
    message = (
        r"class folders 'cafe\u0301' and 'caf\xe9' have the same name in two encodings "
        "(Unicode NFC and NFD); merge them, or rename one"
    )
    assert_refused(tmp_path, message, f"class folder {tmp_path / 'dog'} has no files")


def test_many_empty_classes_are_counted(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png")
    for number in range(1000):
        (tmp_path / f"{number:04d}").mkdir()
    with pytest.raises(InputError, match=r"0019 has no files\nand 980 more$"):
        folder_source(tmp_path)


def test_all_empty_classes_are_told_together(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/Thumbs.db", "emu/.hidden", "fox/1.png")
    faults = [f"class folder {tmp_path / name} has no files" for name in ("dog", "emu")]
    assert_refused(tmp_path, *faults)


def test_the_fingerprint_holds_while_nothing_changes(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/2.png")
    assert folder_source(tmp_path).fingerprint == folder_source(tmp_path).fingerprint


@pytest.mark.parametrize("change", ["time", "size", "name", "class", "more"])
def test_the_fingerprint_changes_with_the_files(tmp_path: Path, change: str) -> None:
    plant(tmp_path, "cat/1.png", "dog/2.png")
    file = tmp_path / "cat" / "1.png"
    state, before = file.stat(), folder_source(tmp_path).fingerprint
    if change == "time":
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    elif change == "size":
        file.write_bytes(file.read_bytes() + b" ")
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif change == "name":
        file.rename(file.with_name("3.png"))
    elif change == "class":
        (tmp_path / "cat").rename(tmp_path / "cow")
    else:
        plant(tmp_path, "cat/4.png")
    assert folder_source(tmp_path).fingerprint != before


def test_the_demo_needs_no_files() -> None:
    source = demo_source(seed=3, n_images=4)
    assert source.classes == ("cat", "dog")
    assert source.labels == (0, 1, 0, 1)
    assert source.ids == tuple(f"drawn-3-0000{i}" for i in range(4))
    assert source.read(1, 32).tobytes() == demo.draw(1, 3, 32).tobytes()


def test_other_demos_have_other_fingerprints() -> None:
    sources = [demo_source(0, 4), demo_source(1, 4), demo_source(0, 6)]
    assert len({source.fingerprint for source in sources}) == 3
    assert demo_source(0, 4).fingerprint == sources[0].fingerprint


def test_sources_are_found_by_name(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_source("demo", tmp_path).ids[0] == "drawn-0-00000"
    assert find_source(str(photo_folder), tmp_path).classes == ("cat", "dog")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_source("~/photos", tmp_path).name == str(photo_folder)
