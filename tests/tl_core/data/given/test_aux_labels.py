"""Auxiliary labels: a column of a manifest, its type, and its faults."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.tl_core.data.given.test_grouping import table
from tests.tl_core.data.test_sources import plant
from tl_core.aux_task import NO_TASK, AuxKind, AuxOn, AuxTask
from tl_core.data.given.aux_labels import AuxLabels, aux_faults, keep_aux, open_aux
from tl_core.data.given.request import DataRequest, find_data
from tl_core.data.splits import Split, make_split
from tl_core.data.splitting.rules import NO_RULES, SplitRules
from tl_core.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = [f"{name}/{i}.png" for name in "ab" for i in range(4)]
    return plant(tmp_path / "photos", *names)


def labels(folder: Path, *cells: str, kind: AuxKind | None = None) -> AuxLabels:
    data = table(folder, "x", *(f'"{cell}"' for cell in cells))
    found = find_data(DataRequest(data, aux="x", aux_kind=kind), Path()).aux
    assert found
    return found


def test_numbers_are_a_regression_and_empty_cells_are_missing(folder: Path) -> None:
    found = labels(folder, "1", "2.5", "", "NA", "-3", "1e2", "nan", "4")
    assert found.task == AuxTask("x", "regression")
    expected = np.array([1, 2.5, np.nan, np.nan, -3, 100, np.nan, 4], np.float32)
    np.testing.assert_array_equal(found.values, expected)
    assert found.known.tolist() == [True, True, False, False, True, True, False, True]


@pytest.mark.parametrize(("cells", "classes", "values"), [
    (["red", "", "blue", "red", "blue", "", "red", "red"], ("blue", "red"),
     [1, -1, 0, 1, 0, -1, 1, 1]),
    (["0", "1", "1", "", "0", "0", "1", "1"], ("0", "1"), [0, 1, 1, -1, 0, 0, 1, 1]),
    (["0", "1", "NA", "", "nan", "0", "N/A", "1"], ("0", "1"), [0, 1, -1, -1, -1, 0, -1, 1]),
    (["no", "NA", "NA", "", "no", "no", "no", "NA"], ("NA", "no"), [1, 0, 0, -1, 1, 1, 1, 0]),
    (["1", "2", "3", "?", "?", "3", "2", "1"], ("1", "2", "3", "?"), [0, 1, 2, 3, 3, 2, 1, 0]),
    (["0,5", "1", "1", "", "0,5", "0,5", "1", "1"], ("0,5", "1"), [0, 1, 1, -1, 0, 0, 1, 1]),
])  # fmt: skip
def test_text_and_two_numbers_are_classes(
    folder: Path, cells: list[str], classes: tuple[str, ...], values: list[int]
) -> None:
    found = labels(folder, *cells)
    assert found.task == AuxTask("x", "classification", classes)
    assert found.values.tolist() == values


@pytest.mark.parametrize("kind", ["number", "none", ""])
def test_another_type_is_refused(folder: Path, kind: AuxKind) -> None:
    cells = ["1", "2", "3", "1", "2", "3", "1", "2"]
    why = f"^--aux-type {kind}: must be 'regression' or 'classification'$"
    with pytest.raises(InputError, match=why):
        labels(folder, *cells, kind=kind)


def test_the_type_can_be_said(folder: Path) -> None:
    cells = ["1", "2", "3", "1", "2", "3", "1", "2"]
    assert labels(folder, *cells).task.kind == "regression"
    found = labels(folder, *cells, kind="classification")
    assert found.task.classes == ("1", "2", "3")
    found = labels(folder, *cells[:6], "null", "na", kind="classification")
    assert found.task.classes == ("1", "2", "3")
    assert found.known.tolist() == [True] * 6 + [False] * 2
    largest = labels(folder, *["3.4028235e38", "1.5", "2", "3"] * 2)
    assert largest.values[0] == np.finfo(np.float32).max
    two = labels(folder, *["0", "1"] * 4, kind="regression")
    assert two.values.tolist() == [0, 1] * 4


@pytest.mark.parametrize(("cells", "kind", "fault"), [
    (["red"] * 7 + ["2"], "regression", "--aux x: --aux-type regression needs finite numbers "
     "(of 32 bits) or empty cells, but 7 cells are not: 'red' in line 2, 'red' in line 3, 'red' in "
     "line 4, and 4 more"),
    (["inf"] + ["1", "2"] * 3 + [""], "regression", "1 cell is not: 'inf' in line 2"),
    (["1,5", "2", "3", "4"] * 2, "regression", "2 cells are not: '1,5' in line 2, '1,5' in line 6 "
     "(decimals need a point, not a comma)"),
    (["1e39", "1.5", "2", "3"] * 2, None, "2 cells are not: '1e39' in line 2, '1e39' in line 6"),
    (["-1e39", "3.5e38"] * 4, "regression", "8 cells are not: '-1e39' in line 2, '3.5e38' in line "
     "3, '-1e39' in line 4, and 5 more"),
    (["7"] * 8, None, "--aux x: a task needs two different values or more; all are '7'"),
    (["7"] * 8, "regression", "all are 7.0"),
    (["7", "NA"] * 4, None, "a task needs two different values or more; all are '7'"),
    (["NA"] * 8, None, "a task needs two different values or more; all are 'NA'"),
    ([""] * 8, None, "a task needs two different values or more; all cells are empty"),
    (list("abcdefgg"), None, "7 classes for 8 images: a class needs two images on average; "
     "if these are numbers, use --aux-type regression"),
    (["1", "2", "3", "4", "5", "NA", "6", "n/k"], None, "--aux x: 6 of 7 values look like numbers, "
     "but 1 cell is not: 'n/k' in line 9; correct or empty it, or take all values as classes: "
     "--aux-type classification"),
    (["1", "2", "3", "4", "5", "", "?", "inf"], None, "5 of 7 values look like numbers, but 2 "
     "cells are not: '?' in line 8, 'inf' in line 9; correct or empty them, or"),
    (["1,5", "2,5", "3", "3"] * 2, None, "8 of 8 values look like numbers, but 4 cells are not: "
     "'1,5' in line 2, '2,5' in line 3, '1,5' in line 6, and 1 more (decimals need a point, not a "
     "comma); correct"),
])  # fmt: skip
def test_columns_that_are_no_task(
    folder: Path, cells: list[str], kind: AuxKind | None, fault: str
) -> None:
    with pytest.raises(InputError, match=re.escape(fault)):
        labels(folder, *cells, kind=kind)


@pytest.mark.parametrize("different", [10, 11])
def test_few_numbers_with_a_word_among_them_are_classes(tmp_path: Path, different: int) -> None:
    photos = plant(tmp_path / "photos", *[f"{name}/{i}.png" for name in "ab" for i in range(60)])
    cells = [*(str(i % different) for i in range(119)), "unknown"]
    if different == 10:
        assert len(labels(photos, *cells).task.classes) == 11
        return
    fault = "119 of 120 values look like numbers, but 1 cell is not: 'unknown' in line 121; correct"
    with pytest.raises(InputError, match=re.escape(fault)):
        labels(photos, *cells)
    assert len(labels(photos, *cells, kind="classification").task.classes) == 12


@pytest.mark.parametrize(("aux", "fault"), [
    ("age", "--aux age: no such column; valid are brightness, none, x"),
    ("label", "--aux label: this column is the class, which is learned in any case; valid are "
     "brightness, none, x"),
    ("path", "--aux path: this column names the images; valid are brightness, none, x"),
    ("p_0", "--aux p_0: no such column"),
])  # fmt: skip
def test_names_of_columns(folder: Path, aux: str, fault: str) -> None:
    data = table(folder, "x", *["1", "2", "3", "4"] * 2)
    with pytest.raises(InputError, match=re.escape(fault)):
        find_data(DataRequest(data, aux=aux), Path())


def test_a_name_of_an_output_is_taken(folder: Path) -> None:
    data = table(folder, "p_0", *["1", "2", "3", "4"] * 2)
    why = "--aux p_0: outputs of a study have this name already; rename the column; valid are "
    with pytest.raises(InputError, match=re.escape(f"{why}brightness, none")):
        find_data(DataRequest(data, aux="p_0"), Path())


def test_a_folder_has_no_columns(folder: Path) -> None:
    why = "--aux age: names a column of a manifest (--data photos.csv); without one, brightness or"
    with pytest.raises(InputError, match=re.escape(why)):
        find_data(DataRequest(str(folder), aux="age"), Path())
    assert find_data(DataRequest(str(folder)), Path()).aux is None
    none = find_data(DataRequest(str(folder), aux="none"), Path()).aux
    assert none
    assert none.task == NO_TASK
    assert not none.known.any()


def test_a_note_names_classes_of_one_image(folder: Path) -> None:
    def notes(*cells: str) -> tuple[str, ...]:
        return find_data(DataRequest(table(folder, "x", *cells), aux="x"), Path()).notes[1:]

    assert notes(*"aaabbbcc") == ()
    assert notes(*"aaabbbcd") == (
        "auxiliary task x: 2 classes have only one image, which is either not learned or not "
        "scored: c, d",
    )
    assert notes(*"aaaabbbc") == (
        "auxiliary task x: 1 class has only one image, which is either not learned or not scored: "
        "c",
    )


def test_a_note_says_what_was_decided(folder: Path) -> None:
    data = table(folder, "x", *["1", "2", "3", ""] * 2)
    notes = find_data(DataRequest(data, aux="x"), Path()).notes
    assert notes[-1] == (
        "auxiliary task x: a number (by its cells; --aux-type classification for the other); 6 of "
        "8 images have a value"
    )
    data = table(folder, "x", *["0", "1", "NA", ""] * 2)
    assert find_data(DataRequest(data, aux="x"), Path()).notes[-1] == (
        "auxiliary task x: one of 2 classes (by its cells; --aux-type regression for the other); "
        "4 of 8 images have a value"
    )


def test_labels_come_back_from_the_cache(tmp_path: Path) -> None:
    numbers = AuxLabels(AuxTask("age", "regression"), np.array([1, np.nan], np.float32))
    classes = AuxLabels(AuxTask("age", "classification", ("a", "b")), np.array([1, -1]))
    for one in (numbers, classes):
        again = open_aux(keep_aux(one, tmp_path))
        assert again.task == one.task
        np.testing.assert_array_equal(again.values, one.values)
    assert numbers.digest != classes.digest


@pytest.mark.parametrize(("on", "expected"), [("labelled", [1]), ("all", [1, 3, 4])])
def test_who_teaches_the_task(on: AuxOn, expected: list[int]) -> None:
    values = np.array([9, 1, np.nan, 3, 4, 5], np.float32)
    found = AuxLabels(AuxTask("x", "regression"), values)
    split = Split(train=np.array([1, 2]), val=np.array([0]), test=np.array([5]))
    rules = SplitRules(np.array([0, 0, 0, 0, 0, 2], np.int8))
    assert found.teaching(on, split, rules).tolist() == expected


def test_each_part_needs_two_values() -> None:
    classes = np.arange(60) % 2
    values = np.full(60, np.nan, np.float32)
    values[::3] = np.arange(20)

    def faults(values: np.ndarray, on: AuxOn, ratio: float) -> list[str]:
        aux = AuxLabels(AuxTask("age", "regression"), values)
        return [*aux_faults(classes, aux, NO_RULES, on, ratio, 0, range(3))]

    assert faults(np.arange(60).astype(np.float32), "labelled", 0.1) == []
    held = make_split(classes, 0.05)
    values[[*held.val, *held.test]] = 0.5
    values[[held.val[0], held.test[0]]] = 1.5
    assert faults(values, "all", 0.05) == []
    few = faults(values, "labelled", 0.05)
    assert len(few) == 1
    assert re.fullmatch(
        "age: the training images at ratio 0.05 need 2 different values or more, and those that "
        r"have one are [01] of [01]; --aux-on all takes more", few[0]
    )  # fmt: skip
    rare = np.full(60, np.nan, np.float32)
    rare[0] = 1
    assert "age: the validation images need 2 different values" in faults(rare, "all", 0.5)[0]
