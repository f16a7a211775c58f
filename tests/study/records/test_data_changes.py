"""What an error tells of data that have changed since a study began."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from study.records.data_changes import describe_absence, describe_changes
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.given.request import DataRequest, find_data
from tl_core.data.sources import find_source

BACK = "; put the data back as they were, or start a new study"


def load(folder: Path) -> ImageSet:
    return load_images(find_source(str(folder), Path("c")), 16, folder.parent / "cache", True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat", "dog", "elk"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("L", (9, 9), 100 * i).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "photos" / "cat" / "bad.png").write_text("no picture")
    return tmp_path / "photos"


def told(folder: Path, before: ImageSet) -> str:
    """What is told, by study.json as it was before."""
    data = {
        "key": before.key,
        "content": before.content,
        "classes": dict.fromkeys(before.classes, 2),
        "skipped": [f"{name}: {reason}" for name, reason in before.bad],
    }
    return describe_changes(data, load(folder))


@pytest.mark.parametrize("kept", [True, False])
def test_files_and_classes_are_named(folder: Path, kept: bool) -> None:
    before = load(folder)
    if not kept:  # The cache is anyone's to remove.
        shutil.rmtree(before.path)
    Image.new("L", (9, 9), 50).save(folder / "dog" / "new: 1\n.png")
    files = r"1 file (dog/new: 1\n.png) added" if kept else "class 'dog' had 2 images and has 3"
    assert told(folder, before) == files + BACK
    (folder / "dog" / "1.png").unlink()
    Image.new("L", (9, 9), 1).save(folder / "cat" / "0.png")
    shutil.move(folder / "elk", folder / "emu")
    files = (
        ", 3 files (dog/1.png, elk/0.png, elk/1.png) missing, "
        r"3 files (dog/new: 1\n.png, emu/0.png, emu/1.png) added, 1 file (cat/0.png) changed"
    )
    classes = "1 class (elk) missing, 1 class (emu) added"
    assert told(folder, before) == classes + files * kept + BACK


def test_rows_of_a_table_in_another_order_are_told(folder: Path) -> None:
    def load_table(*rows: str) -> ImageSet:
        lines = (f"{row}.png,{row[:3]}" for row in rows)
        table = folder.parent / "photos.csv"
        table.write_text("\n".join(["path,label", *lines]), encoding="utf-8")
        return load_images(find_data(DataRequest(table, root=folder), folder), 16, cache)

    cache = folder.parent / "cache"
    rows = [f"{name}/{i}" for name in ("cat", "dog", "elk") for i in range(2)]
    before = load_table(*rows)
    data = {"key": before.key, "classes": dict.fromkeys(before.classes, 2)}
    assert describe_changes(data, load_table(*rows[::-1])) == (
        "the rows of the table are in another order, by which images are split; put them back in "
        "their order, or start a new study"
    )
    assert describe_changes(data, load_table(*rows[:0:-1])) == "1 file (cat/0.png) missing" + BACK


def test_where_nothing_else_shows_a_change_hashes_tell_it(folder: Path) -> None:
    before = load(folder)
    hashes = f"content hash was {before.content}, now {before.content}"
    assert told(folder, before) == hashes + BACK


def test_a_file_that_can_be_read_now_is_to_be_taken_out(folder: Path) -> None:
    before = load(folder)
    Image.new("L", (9, 9), 50).save(folder / "cat" / "bad.png")
    again = "1 file that it left out (cat/bad.png) can be read now"
    out = "; take it out of the data, or start a new study"
    assert told(folder, before) == again + out
    shutil.rmtree(before.path)
    assert told(folder, before) == again + out


def test_absent_data_are_told_with_the_folder_to_run_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, study = tmp_path / "a place", tmp_path / "moved" / "mine"
    gone, whole = [Path("./my photos")], str(start / "my photos")
    back = "put the data back, or make a link at that path to where they are now: my photos"
    start.mkdir()
    monkeypatch.chdir(start)
    assert describe_absence(gone, whole, study) == back
    monkeypatch.chdir(tmp_path)
    there = f"paths of this study are relative to {start}, where it was started: run this command"
    by_path = f"name the study by its path, {study}"
    assert describe_absence(gone, whole, study) == f"{there} there, {by_path}, and {back}"
    Path(whole).mkdir()
    assert describe_absence(gone, whole, study) == f"{there} there, and {by_path}"
    # Of a manifest, study.json has the path as it was given.
    assert describe_absence(gone, "my photos", study) == (
        "paths of this study are relative to the folder that it was started in; this command runs "
        f"in {tmp_path}: run it there, or, if it is there, {back}"
    )
