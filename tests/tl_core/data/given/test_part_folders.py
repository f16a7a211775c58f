"""Folders that hold a split, as people unpack them."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tl_core
from tests.tl_core.data.test_sources import plant
from tl_core.data.datasets import load_images
from tl_core.data.given.part_folders import split_source
from tl_core.data.given.part_names import part_of
from tl_core.data.given.request import DataRequest, find_data
from tl_core.data.sources import Source, folder_source
from tl_core.data.splits import split_faults
from tl_core.data.splitting.rules import PARTS
from tl_core.errors import InputError


def planted(root: Path, **parts: str) -> Path:
    """Two images of each class in each part; `__` in a name is a folder, classes are letters."""
    for name, classes in parts.items():
        for letter in classes:
            plant(root, *(f"{name.replace('__', '/')}/{letter}/{i}.png" for i in range(2)))
    return root


def find(root: Path) -> Source:
    return find_data(DataRequest(str(root)), root)


def split_of(source: Source) -> dict[str, list[str]]:
    assert source.rules.parts is not None
    return {
        part: [
            id_ for id_, number in zip(source.ids, source.rules.parts, strict=True) if number == i
        ]
        for i, part in enumerate(PARTS)
    }


@pytest.mark.parametrize("names", [
    ("train", "val", "test"), ("Training", "Validation", "Testing"), ("TRAIN", "valid", "TEST"),
    ("training_set", "validation-set", "test_set"), ("seg_train", "seg_val", "seg_test"),
    ("archive__train", "archive__dev", "archive__test"), ("a__b__train", "a__b__val", "a__b__test"),
    ("training_set__training_set", "val", "test_set__test_set"),
])  # fmt: skip
def test_a_folder_with_parts_is_the_split_that_it_is(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    root = planted(tmp_path / "photos", **dict.fromkeys(names, "ab"))
    source = find(root)
    assert source.name == str(root)
    assert source.classes == ("a", "b")
    places = [name.replace("__", "/") for name in names]
    assert split_of(source) == {
        part: [f"{place}/{letter}/{i}.png" for letter in "ab" for i in range(2)]
        for part, place in zip(PARTS, places, strict=True)
    }
    assert source.labels == (0, 0, 1, 1) * 3
    shown = [place.removeprefix("archive/").removeprefix("a/b/").split("/")[0] for place in places]
    assert source.notes == (
        f"the split is the given one: 4 images of training ({shown[0]}/), 4 images of validation "
        f"({shown[1]}/), 4 images of test ({shown[2]}/); train ratios are shares of the training "
        "part",
    )
    picture = source.read(11, 99)
    assert isinstance(picture, Image.Image)
    assert picture.size == (2, 1)


def test_missing_parts_are_drawn_and_the_note_says_so(tmp_path: Path) -> None:
    source = find(planted(tmp_path, train="ab", test="ab"))
    assert source.rules.drawn() == ["val"]
    assert source.notes[1:] == (
        "no validation part is given: 10 % of each class of the training part, drawn by "
        "--split-seed, is the validation set",
    )
    source = find(planted(tmp_path / "other", train="ab", val="ab"))
    assert source.rules.drawn() == ["test"]
    assert source.notes[1].startswith("no test part is given: 10 % of each class of the training")


def test_a_test_part_without_labels_is_not_used_and_the_note_says_so(tmp_path: Path) -> None:
    planted(tmp_path, train="ab")
    plant(tmp_path, "test/1.png", "test/2.png")
    source = find(tmp_path)
    assert source.rules.is_plain()
    assert source.ids == ("train/a/0.png", "train/a/1.png", "train/b/0.png", "train/b/1.png")
    assert source.notes == (
        "only a training part is given, train/: its 4 images are split as any folder's",
        "test/ has no class folders, so its images have no labels: they are not used",
    )


def test_a_link_back_up_is_no_part(tmp_path: Path) -> None:
    planted(tmp_path / "photos", train="ab", test="ab")
    (tmp_path / "photos" / "loop").symlink_to("..")
    assert find(tmp_path / "photos").rules.drawn() == ["val"]


def test_classes_of_all_parts_count(tmp_path: Path) -> None:
    source = find(planted(tmp_path, train="bc", test="abc"))
    assert source.classes == ("b", "c", "a")
    assert source.labels == (0, 0, 1, 1, 2, 2, 0, 0, 1, 1)


@pytest.mark.parametrize("names", [("train", "car", "bus"), ("cat", "dog"), ("train", "x-ray")])
def test_a_class_may_be_called_train(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = find(plant(tmp_path, *(f"{name}/{i}.png" for name in names for i in range(2))))
    assert source.classes == tuple(sorted(names))
    assert source.rules.is_plain()
    assert source.fingerprint == folder_source(tmp_path).fingerprint


def refused(root: Path, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        find(root)


def test_what_is_half_a_split_is_an_error(tmp_path: Path) -> None:
    root = planted(tmp_path / "1", train="ab", test="ab")
    refused(
        planted(root, a="x"),
        f"data folder {root}: test, train look like parts of a split, with class folders, and a "
        f"not: use --train {root}/train --test {root}/test to study the parts alone, or a manifest "
        "(--data photos.csv, docs/data.md) if all are classes",
    )
    root = planted(tmp_path / "5", test="ab", a="x")
    refused(root, f"test looks like a part of a split, with class folders, and a not: use --train "
            f"DIR --test {root}/test to study the parts alone")  # fmt: skip
    root = plant(tmp_path / "2", "train/1.png", "test/2.png")
    refused(root, f"data folder {root}: test, train look like parts of a split, but have no class "
            "folders, so their images have no labels; put them into class folders")  # fmt: skip
    root = planted(tmp_path / "3", train="ab", training="ab", test="ab")
    refused(root, f"data folder {root} has two train parts, train and training; name one for each")
    root = planted(tmp_path / "4", val="ab", test="ab")
    refused(
        root, f"data folder {root} has test, val, but no part to train on; name it with --train"
    )


def test_faults_of_all_parts_are_told(tmp_path: Path) -> None:
    planted(tmp_path, train="ab", test="a")
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        find(tmp_path)
    empty, few = map(str, caught.value.faults)
    assert empty == (
        f"class folder {tmp_path}/train/empty has no files: add some, or --exclude empty leaves "
        "the class out"
    )
    assert few.startswith(
        f"data folder {tmp_path}/test needs one sub-folder per class, two or more"
    )


def test_a_class_that_two_parts_encode_in_two_ways_is_listed(tmp_path: Path) -> None:
    plant(tmp_path, *(f"train/{name}/1.png" for name in ("caf\u00e9", "dog")))
    plant(tmp_path, *(f"test/{name}/1.png" for name in ("cafe\u0301", "dog")))
    refused(tmp_path, r"class folders 'caf\xe9' and 'cafe\u0301' have the same name in two "
            "encodings (Unicode NFC and NFD); merge them, or rename one")  # fmt: skip


def with_all_parts(root: Path) -> Path:
    """Ten pictures of each class in each part, and a copy of one in the training part."""
    rng = np.random.default_rng(0)
    for part in PARTS:
        for name in "ab":
            (root / part / name).mkdir(parents=True)
            for i in range(10):
                picture = Image.fromarray(rng.integers(256, size=(9, 9, 3), dtype=np.uint8))
                picture.save(root / part / name / f"{i}.png")
    shutil.copy(root / "train/a/1.png", root / "train/a/copy.png")
    return root


def test_copies_in_the_training_part_of_a_complete_split(tmp_path: Path, own_cache: Path) -> None:
    images = load_images(find(with_all_parts(tmp_path)), 16, own_cache)
    pair = {images.ids.index("train/a/1.png"), images.ids.index("train/a/copy.png")}
    assert split_faults(images.labels, 0.5, images.classes, images.rules) == []
    for seed in range(5):
        split = images.split(0.5, seed=seed)
        assert len(pair & set(split.train.tolist())) in (0, 2)
        assert (len(split.val), len(split.test)) == (20, 20)


def test_groups_of_a_complete_split(tmp_path: Path, own_cache: Path) -> None:
    rows = [
        f"{part}/{name}/{i}.png,{name},{part},{part}-{name}-{i // 2}"
        for part in PARTS for name in "ab" for i in range(10)
    ]  # fmt: skip
    table = with_all_parts(tmp_path) / "photos.csv"
    table.write_text("\n".join(["path,label,split,group", *rows]))
    images = load_images(find(table), 16, own_cache)
    train = images.split(0.4).train.tolist()
    assert len(train) == 8
    assert {i // 2 for i in train} == {i // 2 for i in train if i % 2}, "pairs are whole"


def test_parts_by_flags(tmp_path: Path) -> None:
    planted(tmp_path / "one", photos="ab")
    planted(tmp_path / "two", late="ab")
    asked = DataRequest("", train=str(tmp_path / "one/photos"), test=str(tmp_path / "two/late"))
    source = find_data(asked, tmp_path)
    assert split_of(source) == {
        "train": [f"train/{letter}/{i}.png" for letter in "ab" for i in range(2)],
        "val": [],
        "test": [f"test/{letter}/{i}.png" for letter in "ab" for i in range(2)],
    }
    assert source.notes[0] == (
        f"the split is the given one: 4 images of training ({tmp_path}/one/photos), 4 images of "
        f"test ({tmp_path}/two/late); train ratios are shares of the training part"
    )


def test_a_name_alone_finds_the_split_of_a_folder_and_a_table(tmp_path: Path) -> None:
    planted(tmp_path, train="ab", test="ab")
    assert "find_source" not in tl_core.__all__, "it takes train and test as classes"
    assert split_of(tl_core.find_data(str(tmp_path), tmp_path)) == split_of(find(tmp_path))
    (tmp_path / "t.csv").write_text("path,label\ntrain/a/0.png,x\ntrain/b/0.png,y\n")
    assert tl_core.find_data(str(tmp_path / "t.csv"), tmp_path).classes == ("x", "y")


def test_other_files_give_another_fingerprint(tmp_path: Path) -> None:
    planted(tmp_path, train="ab", test="ab")
    before = find(tmp_path).fingerprint
    plant(tmp_path, "test/a/3.png")
    assert find(tmp_path).fingerprint != before
    assert split_source(tmp_path / "train") is None


def test_words() -> None:
    assert [part_of(word) for word in (" Train", "DEV", "testing", "tests", "my_train", "")] == [
        "train", "val", "test", None, None, None,
    ]  # fmt: skip
    folders = ("my_train", "test images", "constraint", "latest", "train2")
    assert [part_of(name, affixes=True) for name in folders] == ["train", "test", None, None, None]


def test_a_part_that_is_no_folder_is_told_by_its_flag(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    planted(tmp_path, train="ab")
    asked = DataRequest(
        "", train=str(tmp_path / "train"), val="gone", test=str(tmp_path / "a file")
    )
    with pytest.raises(InputError) as caught:
        find_data(asked, tmp_path)
    assert [*map(str, caught.value.faults)] == [
        "--val gone: there is no such folder",
        f"--test {tmp_path}/a file: there is no such folder",
    ]
