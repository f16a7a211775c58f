import re
from pathlib import Path

import pytest

from tests.support.core.hostile_files import put
from tl_core.data.scanning.class_folders import scan_classes
from tl_core.data.scanning.layouts import ONE_CLASS, fold_notes
from tl_core.errors import InputError

NEEDS = "data folder {} needs one sub-folder per class, two or more; found "


def assert_refused(root: Path, *message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message[0])) as caught:
        scan_classes(root)
    assert tuple(map(str, caught.value.faults)) == message


@pytest.mark.parametrize(("names", "found"), [
    (("1.JPG", "2.jpg", ".hidden.csv", "labels.csv", "README.md"),
     "none. Images lie directly in it, beside labels.csv: if that table names the class of each "
     "image, use --data {}/labels.csv; "),
    (("1.jpg", "a.csv", "b.csv"),
     "none. Images lie directly in it, beside a.csv, b.csv: if one of these tables names the class "
     "of each image, use --data with its path; "),
    (("train/1.jpg", "train/2.jpg", "train.csv"),
     "only 'train'. It lies beside train.csv: if that table names the class of each image, use "
     "--data {}/train.csv; "),
], ids=["a table", "tables", "a folder and a table"])  # fmt: skip
def test_images_beside_a_table(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    for name in names:
        put(tmp_path / name, b"x")
    assert_refused(tmp_path, (NEEDS + found).replace("{}", str(tmp_path)) + ONE_CLASS)


def test_folds_of_a_cross_validation_are_no_classes() -> None:
    ids = [f"fold{k}/{name}/1.jpg" for k in (1, 2, 10) for name in ("cat", "dog")]
    assert [*fold_notes(ids)] == [
        "the classes (fold1, fold2, fold10) all have the same sub-folders (cat, dog): if these are "
        "the classes, merge them, or list the images with tl-study manifest FOLDER and correct "
        "column label"
    ]
    assert [*fold_notes([*ids, "fold1/0.jpg"])] == [], "images of its own"
    assert [*fold_notes([*ids, "fold1/fox/1.jpg"])] == [], "other sub-folders"
    assert [*fold_notes([f"{c}/photos/1.jpg" for c in "ab"])] == [], "one sub-folder"


def test_images_without_classes(tmp_path: Path) -> None:
    put(tmp_path / "cat.1.jpg", b"x")
    why = "none. Images lie directly in it: put those of each class into a sub-folder of its own, "
    table = f"make a table with tl-study manifest {tmp_path} --label-regex '(cat|dog)'; "
    names = "or, if their names tell the class, "
    assert_refused(tmp_path, NEEDS.format(tmp_path) + why + names + table + ONE_CLASS)
    assert "several labels for an image (multi-label), numbers to predict (regression)" in ONE_CLASS


def test_an_archive_that_was_unpacked_into_one_folder(tmp_path: Path) -> None:
    for name in ("photos/cat/1.jpg", "photos/dog/2.jpg", "__MACOSX/photos/._cat", "LICENSE"):
        put(tmp_path / name, b"x")
    nested = f"which has 2 sub-folders (cat, dog): if these are the classes, use --data {tmp_path}"
    assert_refused(tmp_path, f"{NEEDS.format(tmp_path)}only 'photos', {nested}/photos")
    for name in ("owl", "fox"):
        put(tmp_path / "photos" / name / "1.jpg", b"x")
    with pytest.raises(InputError, match=r"4 sub-folders \(cat, dog, fox, \.\.\.\)"):
        scan_classes(tmp_path)


@pytest.mark.parametrize("suffix", [".txt", ".xml", ".json"])
def test_a_class_of_texts(tmp_path: Path, suffix: str) -> None:
    for i in range(5):
        put(tmp_path / f"images/{i}.jpg", b"x")
        put(tmp_path / f"labels of {i % 1}/{i}{suffix}", b"0 .5 .5 .1 .1")
    folder = tmp_path / "labels of 0"
    texts = f"class folder {folder} has texts alone, such as labels of 0/0{suffix}: --exclude "
    assert_refused(tmp_path, f"{texts}'labels of 0' leaves it out; {ONE_CLASS}")


def test_faults_are_in_the_order_that_people_use(tmp_path: Path) -> None:
    for i in (1, 2, 10, 11):
        (tmp_path / str(i)).mkdir()
    way_out = "has no files: add some, or --exclude {} leaves the class out"
    faults = (f"class folder {tmp_path}/{i} {way_out.format(i)}" for i in (1, 2, 10, 11))
    assert_refused(tmp_path, *faults)
