from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.core.hostile_files import put
from tl_core.data.given.request import DataRequest, find_data
from tl_core.data.scanning.class_folders import scan_classes
from tl_core.data.scanning.selection import ALL, Selection, compile_glob
from tl_core.errors import InputError

FILES = ("cat/images/1.png", "cat/masks/1.png", "cat/2.JPG", "dog/a_mask.png", "dog/a.png")


@pytest.mark.parametrize(("include", "exclude", "kept"), [
    ((), (), FILES),
    ((), ("masks",), (FILES[0], *FILES[2:])),
    ((), ("masks/", "*_mask.*"), (FILES[0], FILES[2], FILES[4])),
    ((), ("cat/*/1.png",), FILES[2:]),
    ((), ("/images", "png"), FILES),
    ((), ("*.jpg",), FILES),
    ((), ("[0-9].*",), FILES[3:]),
    (("*.png",), ("**/masks/**",), (FILES[0], *FILES[3:])),
    (("images", "/dog"), (), (FILES[0], *FILES[3:])),
    (("./dog/*",), ("a.png",), (FILES[3],)),
])  # fmt: skip
def test_patterns_are_those_of_a_gitignore_file(
    include: tuple[str, ...], exclude: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    selection = Selection(include, exclude)
    assert tuple(filter(selection.keeps, FILES)) == kept
    assert bool(selection) == (selection != ALL)


def test_parts_of_a_split_share_the_patterns(tmp_path: Path) -> None:
    for part, extra in (("train", "cat/1_mask.png"), ("test", "cat/masks/1.png")):
        for name in ("cat/1.png", "dog/1.png", extra):
            put(tmp_path / part / name, b"x")
    put(tmp_path / "runs/a/study.json", b"{}")
    put(tmp_path / "runs/a/ledger.jsonl", b"")
    asked = DataRequest(str(tmp_path), selection=Selection(exclude=("masks", "*_mask.*")))
    source = find_data(asked, tmp_path)
    assert source.ids == tuple(f"{p}/{c}/1.png" for p in ("train", "test") for c in ("cat", "dog"))
    assert "passed over: runs (studies and models of tl-study)" in source.notes
    asked = DataRequest(str(tmp_path), selection=Selection(exclude=("masks", "mask")))
    with pytest.raises(InputError, match=r"^--exclude mask: matches no file of the data folder$"):
        find_data(asked, tmp_path)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Parts with an image of each class, within another folder; and scripts beside them."""
    for part in ("train", "val", "test"):
        for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
            put(tmp_path / "in" / part / name, b"x")
    put(tmp_path / "in/scripts/lib/a.py", b"x")
    put(tmp_path / "in/README.txt", b"x")
    put(tmp_path / "in/runs/a/study.json", b"{}")
    put(tmp_path / "in/runs/a/ledger.jsonl", b"")
    return tmp_path


def counts(folder: Path, *exclude: str, include: tuple[str, ...] = ()) -> dict[str, int]:
    """How many images each part has."""
    asked = DataRequest(str(folder), selection=Selection(include, ("scripts", *exclude)))
    return dict(Counter(id_.split("/")[1] for id_ in find_data(asked, folder).ids))


@pytest.mark.parametrize(("exclude", "include", "found"), [
    ((), (), (3, 3, 3)),
    (("in/train/cat/1.png",), (), (2, 3, 3)),
    (("/in/train/cat/1.png", "in/val/cat/*2.png"), (), (2, 2, 3)),
    (("/cat/1.png",), (), (2, 2, 2)),
    (("val",), (), (3, 0, 3)),
    (("/in/val/", "test"), (), (3, 0, 0)),
    (("in/t*/dog/3.png", "2.png", "dog/3.png", "in/val/cat/9"), (), None),
    (("README.txt", "*.py", "runs", "lib"), (), (3, 3, 3)),
    (("val", "in/val/cat/1.png"), (), (3, 0, 3)),
    ((), ("in/train/**", "/in/val", "1.png"), (3, 3, 2)),
])  # fmt: skip
def test_patterns_may_name_parts(
    parts: Path, exclude: tuple[str, ...], include: tuple[str, ...],
    found: tuple[int, ...] | None,
) -> None:  # fmt: skip
    if found is None:
        with pytest.raises(InputError) as caught:
            counts(parts, *exclude, include=include)
        assert [*map(str, caught.value.faults)] == [
            f"--exclude {glob}: matches no file of the data folder"
            for glob in ("in/t*/dog/3.png", "dog/3.png", "in/val/cat/9")
        ]
        return
    there = zip(("train", "val", "test"), found, strict=True)
    assert counts(parts, *exclude, include=include) == {part: n for part, n in there if n}


@given(st.lists(st.sampled_from(("train", "val", "test")), unique=True), st.integers(1, 2))
def test_law_of_ids(names: list[str], i: int) -> None:
    """An id that a message shows leaves that image out and no other."""
    with TemporaryDirectory() as folder:
        ids = [f"{p}/{c}/{k}.png" for p in ("train", "val", "test") for c in "ab" for k in range(3)]
        for name in ids:
            put(Path(folder) / name, b"x")
        left_out = {f"{name}/a/{i}.png" for name in names}
        asked = DataRequest(folder, selection=Selection(exclude=tuple(left_out)))
        found = find_data(asked, Path(folder)).ids
        assert found == tuple(name for name in ids if name not in left_out)


def test_what_is_left_out_is_neither_a_part_nor_told(parts: Path) -> None:
    put(parts / "in/unlabelled/1.png", b"x")
    asked = DataRequest(str(parts), selection=Selection(exclude=("scripts", "unlabelled")))
    given_note, passed = find_data(asked, parts).notes
    assert given_note.startswith("the split is the given one: 3 images of training (train/)")
    assert passed == "passed over: runs (studies and models of tl-study)"
    with pytest.raises(InputError, match="has val, but no part to train on"):
        counts(parts, "t*", "unlabelled")


def test_patterns_reach_what_lies_beside_the_folder_of_the_parts(parts: Path) -> None:
    put(parts / "masks/deep/1.png", b"x")
    put(parts / "README.png", b"x")
    beside = ("masks", "README.png", "masks/deep/1.png")
    assert counts(parts, *beside) == {"train": 3, "val": 3, "test": 3}
    with pytest.raises(InputError, match=r"^--exclude none.png: matches no file of the data fol"):
        counts(parts, *beside, "none.png")


def test_parts_by_flags_have_their_ids(parts: Path) -> None:
    inner = parts / "in"
    asked = DataRequest(
        "",
        train=str(inner / "train"),
        test=str(inner / "val"),
        selection=Selection(exclude=("test/cat/1.png", "/train/cat/2.png")),
    )
    ids = find_data(asked, parts).ids
    assert ids == ("train/cat/1.png", "train/dog/1.png", "test/cat/2.png", "test/dog/1.png")


def test_a_manifest_needs_no_patterns(tmp_path: Path) -> None:
    asked = DataRequest(str(tmp_path / "a.csv"), selection=Selection(("*.png",)))
    why = r"^--include is not read with a manifest; take those rows out of the table$"
    with pytest.raises(InputError, match=why):
        find_data(asked, tmp_path)


@pytest.mark.parametrize("glob", ["", "  ", "!*.png", "# a comment"])
def test_what_is_no_pattern(glob: str) -> None:
    with pytest.raises(
        ValueError, match=r"such as masks or \*_mask.png; it can't begin with ! or #"
    ):
        compile_glob(glob)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*FILES, "scripts/a.py", "owl/notes.md", "owl/1.png", "stray.png", ".git/x"):
        put(tmp_path / name, b"x")
    return tmp_path


def test_a_class_is_left_out_as_a_whole(folder: Path) -> None:
    scan = scan_classes(folder, Selection(exclude=("scripts", "/owl", "masks", "*_mask.*")))
    assert (scan.classes, scan.labels) == (("cat", "dog"), (0, 0, 1))
    assert scan.ids == ("cat/2.JPG", "cat/images/1.png", "dog/a.png")
    assert scan.files == tuple(folder / name for name in scan.ids)


@pytest.mark.parametrize("glob", ["No pictures", "No pictures/", "/No*"])
@pytest.mark.parametrize("part", ["", "train/"])
def test_an_empty_class_folder_can_be_left_out(tmp_path: Path, part: str, glob: str) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        put(tmp_path / part / name, b"x")
    (tmp_path / part / "No pictures").mkdir()
    asked = DataRequest(str(tmp_path), selection=Selection(exclude=(glob,)))
    assert find_data(asked, tmp_path).classes == ("cat", "dog")
    why = "has no files: add some, or --exclude 'No pictures' leaves the class out$"
    with pytest.raises(InputError, match=f"class folder .*/No pictures {why}"):
        find_data(DataRequest(str(tmp_path)), tmp_path)


def faults_of(folder: Path, selection: Selection) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        scan_classes(folder, selection)
    return tuple(map(str, caught.value.faults))


def test_a_pattern_that_matches_nothing_is_a_fault(folder: Path) -> None:
    include, exclude = ("*.png", "*.jpeg"), ("mask", "scripts", "stray.png", ".git")
    assert faults_of(folder, Selection(include, exclude)) == (
        "--include *.jpeg: matches no file of the data folder",
        "--exclude mask: matches no file of the data folder",
    )


def test_a_class_of_which_nothing_is_left_is_a_fault(folder: Path) -> None:
    left = (
        f"class folder {folder}/{{0}} has no files that --include and --exclude leave: change "
        "these, or --exclude {0} leaves the class out"
    )
    exclude = ("*.png", "*.md", "scripts")
    assert faults_of(folder, Selection(exclude=exclude)) == (left.format("dog"), left.format("owl"))
    assert faults_of(folder, Selection(("*.png",))) == (left.format("scripts"),)
    needs = "needs one sub-folder per class, two or more; found only 'dog'"
    assert faults_of(folder, Selection(exclude=("cat", "scripts", "owl"))) == (
        f"data folder {folder} {needs}",
    )
