"""Labels that are no classes."""

import pytest

from tl_core.data.given.label_column import label_faults

NUMBER = "a number to predict (regression), which a study does not learn"
SEVERAL = "several labels for one image (multi-label), which a study does not learn; give one class"


def found(labels: list[str], of_path: dict[str, set[str]] | None = None) -> list[str]:
    return [*label_faults(labels, of_path or {})]


@pytest.mark.parametrize("labels", [
    ["cat", "dog"] * 3,
    [str(i) for i in range(20)],  # As many classes as there are digits and letters.
    [str(i % 100) for i in range(1000)],  # ImageNet's classes by number, ten images each.
    [f"{i / 2}" for i in range(20)],  # Grades.
    [f"class {i}" for i in range(500)],
    ["nan", "inf", *map(str, range(30))],
    ["crane", "great white shark, white shark", "black;white", "a|b", "x;", ";"],
    ["Salem, Oregon", "Salem, Ohio", "Dayton, Ohio", "Oregon, Ohio", "Ohio"],
    ["maillot", "maillot, tank suit", "missile", "projectile, missile", "[old]", "[1]", ","],
])  # fmt: skip
def test_classes(labels: list[str]) -> None:
    assert found(labels) == []


def test_numbers_to_predict() -> None:
    ages = [str(20 + i % 60) for i in range(240)]
    assert found(ages) == [
        f"column label has 60 different numbers from 20 to 79: {NUMBER}; give classes, such as "
        "ranges of it, and if the numbers are names of classes, begin each with a letter"
    ]
    assert found([*ages, "nan", "NA", "?"]) == found(ages), "missing values are no names of classes"
    assert found(["nan", "NA", "?"] * 30) == []
    prices = [f"{i % 30 + 0.5}" for i in range(3000)]
    assert found(prices)[0].startswith("column label has 30 different numbers from 0.5 to 29.5: a")


@pytest.mark.parametrize("between", [";", "|", " ; "])
def test_several_labels_in_a_cell(between: str) -> None:
    both = f"cat{between}dog"
    (fault,) = found(["cat", "dog", both, both, f"dog{between}cow"])
    assert fault == f"3 rows of column label, such as {both!r}, have {SEVERAL}"
    assert len(found([both, f"cat{between}cow"])) == 1, "no image has one label"


@pytest.mark.parametrize(
    "cell", ["cat, dog", "dog,cat", "['cat', 'dog']", "['cow']", '["cat"]', "[1, 0]", "['a',\n'b']"]
)
def test_a_list_in_a_cell(cell: str) -> None:
    (fault,) = found(["cat", "dog", "dog", cell])
    assert fault == f"1 row of column label, such as {cell!r}, has {SEVERAL}"


def test_several_rows_of_a_path() -> None:
    (fault,) = found(["cat", "dog"], {"1.jpg": {"dog", "cat"}, "2.jpg": {"cat"}})
    assert (
        fault
        == f"1 path has rows with different labels, such as 1.jpg with 'cat' and 'dog': {SEVERAL}"
    )
