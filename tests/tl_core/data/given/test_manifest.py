"""Manifests: what they give, and every fault with its line."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.tl_core.data.test_sources import plant
from tl_core.data.given.manifest import is_manifest, manifest_source, write_manifest
from tl_core.data.given.request import DataRequest, find_data
from tl_core.data.sources import folder_source
from tl_core.errors import InputError

RENAME = "Name the column of the files path, and that of their classes label"
NAMES = tuple(f"{letter}{i}.png" for letter in "ab" for i in range(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return plant(tmp_path / "photos", *NAMES)


def write(folder: Path, *lines: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_text("\n".join(lines), encoding=encoding)
    return folder / name


def faults(file: Path, root: Path | None = None) -> list[str]:
    with pytest.raises(InputError) as caught:
        manifest_source(file, root)
    return [str(fault).replace(f"{file}", "T") for fault in caught.value.faults]


def test_paths_and_labels(folder: Path) -> None:
    rows = ["path,label,weight", *(f"{name},{name[0].upper()},{i}" for i, name in enumerate(NAMES))]
    source = manifest_source(write(folder, *rows))
    assert source.name == str(folder / "t.csv")
    assert source.classes == ("A", "B")
    assert source.ids == NAMES
    assert source.labels == (0, 0, 0, 1, 1, 1)
    assert source.columns["weight"] == ("0", "1", "2", "3", "4", "5")
    assert source.rules.is_plain()
    assert source.notes == ()
    picture = source.read(0, 99)
    assert isinstance(picture, Image.Image)
    assert picture.size == (2, 1)


def test_faults_of_rows_and_of_other_columns_are_told_together(folder: Path) -> None:
    rows = [f"{name},{name[0]},{i},p" for i, name in enumerate(NAMES)]
    file = write(folder, "path,label,age,who", *rows)

    def faults(group: str | None = None, aux: str = "brightness") -> list[str]:
        with pytest.raises(InputError) as caught:
            find_data(DataRequest(str(file), group=group, aux=aux), folder)
        return [str(fault).replace(f"{file}", "T") for fault in caught.value.faults]

    columns = [
        "--group wo: no such column (did you mean who?); columns are path, label, age, who",
        "--aux aeg: no such column (did you mean age?); valid are brightness, none, age, who",
    ]
    assert faults(group="wo", aux="aeg") == columns
    write(folder, "path,label,age,who", "a0.png,,1,p", *rows[1:])
    assert faults(group="wo", aux="aeg") == ["T, line 2: label is empty", *columns]
    assert faults() == ["T, line 2: label is empty"]
    write(folder, "path,label,age,who", "a0.png,a,1", *rows[1:])
    assert faults(group="wo") == ["T, line 2: 3 cells, but 4 columns"]
    write(folder, "file,label,age,who", *rows)
    columns = ["--group WHO: no such column (did you mean who?); columns are file, label, age, who"]
    assert faults(group="WHO")[1:] == columns


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "semicolons.csv"])
def test_kinds_of_tables_are_the_same(folder: Path, name: str) -> None:
    table = pd.DataFrame({"path": NAMES, "label": [f"{n[0]}, big" for n in NAMES], "n": range(6)})
    if name.endswith(".parquet"):
        table.to_parquet(folder / name)
    else:
        sep = {"t.csv": ",", "t.tsv": "\t", "semicolons.csv": ";"}[name]
        # With a byte order mark, as a spreadsheet writes it.
        table.to_csv(folder / name, index=False, sep=sep, encoding="utf-8-sig")
    source = manifest_source(folder / name)
    assert source.classes == ("a, big", "b, big")
    assert source.columns["n"] == ("0", "1", "2", "3", "4", "5")
    assert source.fingerprint == manifest_source(folder / name).fingerprint


def test_paths_are_relative_to_the_root_or_the_table_or_absolute(folder: Path) -> None:
    elsewhere = folder.parent / "tables"
    elsewhere.mkdir()
    rows = [f"{name},{name[0]}" for name in NAMES[1:]] + [f"{folder / NAMES[0]},a"]
    table = write(elsewhere, "path,label", *rows)
    assert len(manifest_source(table, folder).ids) == 6
    assert faults(table)[-1] == f"T, line 6: there is no file {elsewhere}/b2.png"
    rows = [rf"photos\{name},{name[0]}" for name in NAMES]
    source = manifest_source(write(folder.parent, "path,label", *rows))
    assert source.ids[0] == "photos/a0.png", "as Windows writes it"


def test_names_of_columns_in_capitals_and_spaces_around_cells(folder: Path) -> None:
    rows = [f" {name} , {name[0]} , {i}" for i, name in enumerate(NAMES)]
    source = manifest_source(write(folder, "Path, LABEL ,Weight", *rows))
    assert [*source.columns] == ["path", "label", "Weight"]
    assert source.ids == NAMES
    assert source.classes == ("a", "b")


def test_what_spreadsheets_add_is_passed_over(folder: Path) -> None:
    rows = [f"{name},{name[0]}, ," for name in NAMES]
    source = manifest_source(write(folder, "path,label,,", *rows))
    assert [*source.columns] == ["path", "label"]
    assert source.labels == (0, 0, 0, 1, 1, 1)
    named = manifest_source(write(folder, ",path,label,", *(f"7,{n},{n[0]}," for n in NAMES)))
    assert [*named.columns] == ["", "path", "label"]
    for first in ("sep=;", '"SEP=;"', "sep=|"):
        between = first.strip('"')[-1]
        lines = [f"{name}{between}{name[0]}, big" for name in NAMES]
        table = write(folder, first, f"path{between}label", *lines)
        assert manifest_source(table).classes == ("a, big", "b, big")
    lost = write(folder, "sep=,", "path,label", "a0.png,a", "lost.png,b")
    assert faults(lost) == [f"T, line 4: there is no file {folder}/lost.png"]


def test_other_columns_keep_their_names(folder: Path) -> None:
    """A study of an earlier version was started with them."""
    rows = [f"{name},{name[0]},owner {i % 2},any" for i, name in enumerate(NAMES)]
    table = write(folder, "path,label,Group,Split", *rows)
    source = find_data(DataRequest(str(table)), folder)
    assert source.columns["Group"] == ("owner 0", "owner 1") * 3
    assert source.rules.is_plain()
    split, group = source.notes
    assert split == "column Split is not used; a column split would be: rename it if it is that"
    assert group == "column Group is not used; a column group would be: rename it if it is that"
    assert find_data(DataRequest(str(table), group="Group"), folder).notes[:1] == (split,)
    assert find_data(DataRequest(str(table), group_regex="."), folder).notes[:1] == (split,)
    rows = [f"{name},{name[0]},{'train' if i else 'Val'},val" for i, name in enumerate(NAMES)]
    part = "column part (Val, train) is not used; if it is the split, rename it split"
    table = write(folder, "path,label,part,one", *rows)
    assert find_data(DataRequest(str(table)), folder).notes == (part,)
    table = write(folder, "path,label,part,split", *(f"{row[:-3]}train" for row in rows))
    assert part not in find_data(DataRequest(str(table)), folder).notes
    table = write(folder, "path,label,Split,one", *rows)
    assert find_data(DataRequest(str(table)), folder).notes == (split,)
    empty = write(folder, "path,label,Group,SPLIT", *(f"{name},{name[0]},," for name in NAMES))
    assert find_data(DataRequest(str(empty)), folder).notes == ()


def test_names_of_files_that_are_nearly_right(folder: Path) -> None:
    rows = ["a0,a", "https://x.org/a1.png,a", "b0.png,b", "b1.png,b"]
    assert faults(write(folder, "path,label", *rows)) == [
        f"T, line 2: there is no file {folder}/a0; do you mean a0.png?",
        "T, line 3: https://x.org/a1.png is an address; download the images first",
    ]


def test_classes_that_look_like_missing_values(folder: Path) -> None:
    rows = [f"{name},{'NaN' if name == 'a0.png' else name[0]}" for name in NAMES]
    assert manifest_source(write(folder, "path,label", *rows)).notes == (
        "'NaN' is a class of 1 image; if it says that a label is missing, take that row out",
    )


def test_a_split_column(folder: Path) -> None:
    words = ("Train", "train", "TEST", "train", "training", "test")
    rows = [f"{name},{name[0]},{word}" for name, word in zip(NAMES, words, strict=True)]
    source = manifest_source(write(folder, "path,label,split", *rows))
    assert source.rules.parts is not None
    assert source.rules.parts.tolist() == [0, 0, 2, 0, 0, 2]
    assert source.notes == (
        "the split is the given one: 4 images of training (Train), 2 images of test (TEST); train "
        "ratios are shares of the training part",
        "no validation part is given: 10 % of each class of the training part, drawn by "
        "--split-seed, is the validation set",
    )
    empty = manifest_source(write(folder, "path,label,split", *(f"{n},{n[0]}," for n in NAMES)))
    assert empty.rules.is_plain()
    assert empty.notes == ()
    alone = [f"{name},{name[0]},train" for name in NAMES]
    source = manifest_source(write(folder, "path,label,split", *alone))
    assert source.rules.is_plain()
    assert source.notes == (
        "column split names a training part alone: its images are split as any",
    )
    held = [f"{name},{name[0]},test" for name in NAMES]
    assert faults(write(folder, "path,label,split", *held)) == [
        "T: column split names no image to train on"
    ]


def test_every_fault_is_told_with_its_line(folder: Path) -> None:
    (folder / "sub").mkdir()
    table = write(
        folder, "path,label,split", "no.png,a,train", "a0.png, ,train", "a1.png,a,holdout",
        "a2.png,a,train", "", '"a2.png",a,train', "b0.png,b,", ",b,test", "sub,b,test",
        '"b\n1.png",b,test', "b2.png,b,test",
    )  # fmt: skip
    words = "it must be train or training; val, valid, validation or dev; test or testing"
    assert faults(table) == [
        f"T, line 2: there is no file {folder}/no.png",
        f"T, line 10: {folder}/sub is a folder, not an image",
        rf"T, line 12: there is no file {folder}/b\n1.png",
        "T, line 3: label is empty",
        "T, line 7: a2.png is in line 5 already",
        "T, line 9: path is empty",
        f"T, line 4: split is 'holdout'; {words}",
        f"T, line 8: split is empty; {words}",
    ]
    rows = (f"{name},{name[0]},{'train' if i else 'x'}" for i, name in enumerate((*NAMES, *"cdef")))
    table = write(folder, "path,label,split", *(row.replace("train", "y") for row in rows))
    assert [fault for fault in faults(table) if "split" in fault] == [
        f"T, line 2: split is 'x'; {words}",
        f"T, line 3 and 8 more: split is 'y'; {words}",
    ]


def test_many_faults_of_a_kind_are_counted(folder: Path) -> None:
    found = faults(write(folder, "path,label", *(f"{i}.jpg,{'ab'[i % 2]}" for i in range(30))))
    assert len(found) == 22
    assert found[20] == "and 10 more"
    assert found[21] == f"T: paths are relative to {folder}; --root DIR names another folder"


def test_a_folder_of_paths_is_named_from_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "path,label", "x.jpg,a")
    monkeypatch.chdir(folder)
    fault = f"T: paths are relative to {folder}; --root DIR names another folder"
    assert faults(Path("t.csv"))[1].replace("t.csv", "T") == fault


def test_the_folder_is_read_for_faults_that_are_shown_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    glob = Path.glob

    def counted(self: Path, pattern: str) -> Iterator[Path]:
        seen.append(self)
        return glob(self, pattern)

    monkeypatch.setattr(Path, "glob", counted)
    faults(write(folder, "path,label", *(f"{i}.jpg,{'ab'[i % 2]}" for i in range(500))))
    assert len(seen) == 20


@pytest.mark.parametrize(("lines", "fault"), [
    ((), "T is empty; a line with the names of the columns is expected"),
    (
        ("file,class", "a0.png,a"),
        "T: no column path and label; columns are file, class. " + RENAME,
    ),
    (("path,class", "a0.png,a"), "T: no column label; columns are path, class. " + RENAME),
    (("path,label,label", "a0.png,a,b"), "T: column label is there twice"),
    (("path,label",), "T has no rows"),
    (("path,label", "a0.png"), "T, line 2: 1 cell, but 2 columns"),
    (("path,label", "a0.png,a,b"), "T, line 2: 3 cells, but 2 columns"),
    (("path,label", 'a0.png,"a'), "T can't be read: unexpected end of data"),
    (("path,label", "a0.png,a", "a1.png,a"),
     "T: column label needs two classes or more; found only 'a'"),
])  # fmt: skip
def test_tables_that_are_none(folder: Path, lines: tuple[str, ...], fault: str) -> None:
    assert faults(write(folder, *lines)) == [fault]


def test_a_parquet_column_of_lists(folder: Path) -> None:
    table = pd.DataFrame({"path": NAMES, "label": [name[0] for name in NAMES]})
    table["embedding"] = [[0.5, 1.0], [], None, [2.0], [3.0], [4.0]]
    table.to_parquet(folder / "t.parquet")
    source = manifest_source(folder / "t.parquet")
    assert source.ids == NAMES
    assert source.columns["embedding"][:3] == ("[0.5, 1. ]", "[]", "")


def test_files_that_are_no_tables(folder: Path) -> None:
    assert faults(folder / "no.csv") == ["T can't be read: No such file or directory"]
    (folder / "t.parquet").write_bytes(b"no parquet")
    assert faults(folder / "t.parquet")[0].startswith("T can't be read: ")
    (folder / "latin.csv").write_bytes("path,label\na0.png,käfer".encode("latin-1"))
    assert faults(folder / "latin.csv") == [
        "T is not in UTF-8 (invalid continuation byte at byte 19); save it as such (in a "
        "spreadsheet: CSV UTF-8)"
    ]


def test_labels_that_a_study_can_not_learn_are_told_beside_other_faults(folder: Path) -> None:
    rows = ["a0.png,a;b", "a1.png,a", "a2.png,a", "b0.png,b", "b1.png,", "b2.png,b"]
    several, empty = faults(write(folder, "path,label", *rows))
    assert several == (
        "T: 1 row of column label, such as 'a;b', has several labels for one image (multi-label), "
        "which a study does not learn; give one class"
    )
    assert empty == "T, line 6: label is empty"


def test_the_fingerprint_of_a_relative_path_is_that_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for name in ("one", "two"):
        folder = plant(tmp_path / name, "a.png", "b.png")
        for file in folder.iterdir():
            os.utime(file, ns=(0, 0))
        write(folder, "path,label", "a.png,a", "b.png,b")
        monkeypatch.chdir(folder)
        found[name] = manifest_source(Path("t.csv")).fingerprint
        assert manifest_source(folder / "t.csv").fingerprint == found[name]
        assert manifest_source(Path("t.csv"), Path()).fingerprint == found[name]
    assert found["one"] != found["two"]


def test_lists_and_bytes_as_labels_of_parquet(folder: Path) -> None:
    out = folder / "t.parquet"
    pd.DataFrame({"path": NAMES, "label": [b"cat", b"d\xc3\xb6g", "cat"] * 2}).to_parquet(out)
    assert manifest_source(out).classes == ("cat", "d\u00f6g")
    pd.DataFrame({"path": NAMES, "label": [["cat"], ["dog"], ["cat", "dog"]] * 2}).to_parquet(out)
    assert faults(out) == [
        "T: 6 rows of column label, such as \"['cat']\", have several labels for one image "
        "(multi-label), which a study does not learn; give one class"
    ]


def test_what_is_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    names = ("a.csv", "A.CSV", "b.parquet", "c.tsv", "d.txt", "demo", str(tmp_path / "folder.csv"))
    assert [is_manifest(name) for name in names] == [True, True, True, True, False, False, False]
    for data in ("demo", str(tmp_path)):
        with pytest.raises(InputError, match=re.escape("--root x: is read with a manifest alone")):
            find_data(DataRequest(data, root="x"), tmp_path)
    with pytest.raises(InputError, match="--root nowhere: there is no such folder"):
        find_data(DataRequest("a.csv", root="nowhere"), tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
@pytest.mark.parametrize("beside", [True, False])
def test_a_folder_as_a_manifest_gives_the_same_images(
    tmp_path: Path, name: str, beside: bool
) -> None:
    root = plant(tmp_path / "photos", "a b,c/1;.png", "a b,c/2.png", 'd"/NA.png', 'd"/4.png')
    out = (tmp_path if beside else tmp_path / "photos" / 'd"') / name
    folder = folder_source(root)
    write_manifest(folder, root, out)
    source = manifest_source(out)
    assert (source.classes, source.labels) == (folder.classes, folder.labels)
    start = "photos" if beside else str(root)
    assert source.ids == tuple(f"{start}/{name}" for name in folder.ids)
    # An entry of the cache holds the ids, so these images have one of their own.
    assert source.fingerprint != folder.fingerprint
