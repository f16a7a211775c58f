"""Groups by a column, and by a regular expression."""

import re
from pathlib import Path

import pytest

from tests.tl_core.data.test_sources import plant
from tl_core.data.given.request import DataRequest, find_data
from tl_core.data.sources import Source
from tl_core.errors import InputError

KEPT = (
    "a group stays on one side of the split, training subsets are made of whole groups, and "
    "intervals are about new groups"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = ("a/p1_1.png", "a/p1_2.png", "a/x.png", "b/p1_3.png", "b/p2_4.png", "b/p3_5.png")
    return plant(tmp_path / "photos", *names)


def table(folder: Path, head: str, *cells: str) -> str:
    names = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.png"))
    rows = [f"{name},{name[0]},{cell}" for name, cell in zip(names, cells, strict=True)]
    (folder / "t.csv").write_text("\n".join([f"path,label,{head}", *rows]))
    return str(folder / "t.csv")


def find(data: object, group: str | None = None, group_regex: str | None = None) -> Source:
    return find_data(DataRequest(str(data), group=group, group_regex=group_regex), Path())


def groups(source: Source) -> list[int]:
    assert source.rules.groups is not None
    return [int(group) for group in source.rules.groups]


def test_a_regular_expression_on_the_path(folder: Path) -> None:
    source = find(folder, group_regex=r"p(\d)_")
    assert groups(source) == [0, 0, 8, 0, 1, 2]
    assert source.rules.by == r"p(\d)_"
    assert source.group_names == ("1", "1", None, "1", "2", "3")
    assert source.notes == (
        rf"3 groups by p(\d)_: {KEPT}",
        "1 image has no group and is a group of its own: a/x.png",
    )
    assert groups(find(folder, group_regex=r"^./p\d")) == [0, 0, 8, 1, 2, 3], "all that matches"
    assert groups(find(folder, group_regex=r"(.)/(..)")) == [0, 0, 1, 2, 3, 4], "several groups"
    optional = find(folder, group_regex=r"/(?:p(1)_)?.*\.png")
    assert groups(optional) == [0, 0, 8, 0, 10, 11], "no group is called None"
    why = "--group-regex q: matches no path, such as a/p1_1.png"
    with pytest.raises(InputError, match=re.escape(why)):
        find(folder, group_regex="q")


def test_a_column(folder: Path) -> None:
    data = table(folder, "farm", "n", "n", "", "s", "s", " s ")
    assert find(data).rules.is_plain()
    source = find(data, group="farm")
    assert groups(source) == [0, 0, 8, 1, 1, 1]
    assert source.rules.by == "farm"
    assert source.columns["farm"] == ("n", "n", "", "s", "s", "s")
    both = find(table(folder, "group", "n", "n", "m", "s", "s", "s"))
    assert groups(both) == [0, 0, 1, 2, 2, 2], "a column of this name needs no flag"
    assert find(table(folder, "group", *[""] * 6)).rules.is_plain()


@pytest.mark.parametrize(("table_given", "group", "why"), [
    (True, "sex", "--group sex: no such column; columns are path, label, farm"),
    (False, "sex", "--group sex: names a column of a manifest (--data photos.csv); a folder"),
])  # fmt: skip
def test_columns_that_are_none(folder: Path, table_given: bool, group: str, why: str) -> None:
    data = table(folder, "farm", *"nnnsss") if table_given else str(folder)
    with pytest.raises(InputError, match=re.escape(why)):
        find(data, group)


def test_a_group_on_two_sides_of_a_given_split_is_a_fault(folder: Path) -> None:
    cells = ("train,n", "test,n", "train,", "train,s", "test,t", "val,s")
    with pytest.raises(InputError) as caught:
        find(table(folder, "split,group", *cells))
    assert [str(fault) for fault in caught.value.faults] == [
        "group n is in training and test of the given split; a group must be on one side",
        "group s is in training and validation of the given split; a group must be on one side",
    ]
