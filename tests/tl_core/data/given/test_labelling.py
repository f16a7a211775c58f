"""Classes that the names of files tell."""

from pathlib import Path

import pytest

from tests.tl_core.data.test_sources import plant
from tl_core.data.given.labelling import captured, label_by_regex
from tl_core.errors import InputError


def test_names_in_one_folder_tell_the_classes(tmp_path: Path) -> None:
    root = plant(tmp_path, "cat.1.png", "dog.1.png", "more/dog.2.png")
    (root / "README.md").write_text("About cats.")  # No picture, and it does not match.
    source = label_by_regex(root, r"(cat|dog)\.")
    assert source.classes == ("cat", "dog")
    assert source.ids == ("cat.1.png", "dog.1.png", "more/dog.2.png")
    assert source.labels == (0, 1, 1)


def test_a_group_that_takes_no_part_is_left_out_of_a_label(tmp_path: Path) -> None:
    root = plant(tmp_path, "cat.1.png", "dog.1.png")
    assert label_by_regex(root, "(cat)|(dog)").classes == ("cat", "dog")
    # As it has always been for groups: a study of an earlier version must find the same ones.
    assert captured("--group-regex", "(cat)|(dog)", ["cat", "dog"]) == ["cat/None", "None/dog"]


def test_capture_groups_are_joined() -> None:
    paths = ["a_1_x", "b_2", "none"]
    assert captured("--label-regex", r"([ab])_(\d)", paths) == ["a/1", "b/2", None]
    assert captured("--label-regex", r"[ab]_\d", paths) == ["a_1", "b_2", None]


@pytest.mark.parametrize(("pattern", "found"), [
    (r"(?:p(\d+)_)?\d\.png", ["7", None]),
    (r"(?:p(\d+)_)?(?:q(\d+)_)?\d\.png", ["7/None", None]),
    (r"p?(\d*)_?\d\.png", ["7", None]),
    (r"p?(\d*)_?()\d\.png", ["7/", None]),
    (r"(?:p\d+)?", ["p7", None]),
])  # fmt: skip
def test_a_capture_that_is_optional_or_empty_finds_nothing(
    pattern: str, found: list[str | None]
) -> None:
    assert captured("--group-regex", pattern, ["p7_0.png", "1.png"]) == found


@pytest.mark.parametrize(("pattern", "why"), [
    ("(", r"--label-regex \(: no regular expression: missing \)"),
    ("x{9999999999}", "no regular expression: the repetition number is too large"),
    ("(fox)?", r"--label-regex \(fox\)\?: matches no path, such as cat.1.png"),
    ("fox", "--label-regex fox: matches no path, such as cat.1.png"),
    ("cat", "--label-regex cat: finds no class in dog.1.png"),
    ("png", "--label-regex png: finds one class alone, 'png'; a study needs two or more"),
])  # fmt: skip
def test_what_tells_no_classes(tmp_path: Path, pattern: str, why: str) -> None:
    root = plant(tmp_path, "cat.1.png", "dog.1.png")
    with pytest.raises(InputError, match=why):
        label_by_regex(root, pattern)
