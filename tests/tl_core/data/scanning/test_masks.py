import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_core.data.scanning import masks
from tl_core.data.scanning.masks import mask_notes
from tl_core.data.scanning.selection import Selection

WHY = "A network that learns from masks or copies scores too well: leave them out with --exclude "


def pairs(*names: str, classes: tuple[str, ...] = ("cat", "dog"), n: int = 5) -> list[str]:
    """For each class and number from 0, a file of each name, which has a {}."""
    return [f"{c}/{name.format(i)}" for c in classes for name in names for i in range(n)]


@pytest.mark.parametrize(("ids", "note", "glob"), [
    (
        pairs("images/{}.jpg", "masks/{}.png"),
        "10 of 20 files lie in folders with the name 'masks' (cat/masks/0.png beside "
        "cat/images)", "masks",
    ),
    (
        pairs("{}/images/a.jpg", "{}/lung masks/a.png"),
        "10 of 20 files lie in folders with the name 'lung masks' (cat/0/lung masks/a.png "
        "beside cat/0/images)", "'lung masks'",
    ),
    (
        pairs("images/x/{}.jpg", "GT/x/{}.png"),
        "10 of 20 files lie in folders with the name 'GT' (cat/GT/x/0.png beside cat/images)",
        "GT",
    ),
    (
        pairs("images/{}.jpg", "flow/{}.png"),
        "10 of 20 files lie in folders with the name 'flow' (cat/flow/0.png beside cat/images)",
        "flow",
    ),
    (
        pairs("{}.png", "{}_mask.png"),
        "10 of 20 files have the name of another one and '_mask' (cat/0_mask.png beside "
        "cat/0.png)", "'*_mask.*'",
    ),
    (
        pairs("benign ({}).png", "benign ({})_mask.png", "benign ({})_mask_1.png"),
        "10 of 30 files have the name of another one and '_mask' (cat/benign (0)_mask.png "
        "beside cat/benign (0).png)", "'*_mask.*'",
    ),
    (
        pairs("{}.jpg", "{}_segmentation2.png"),
        "10 of 20 files have the name of another one and '_segmentation' "
        "(cat/0_segmentation2.png beside cat/0.jpg)", "'*_segmentation*'",
    ),
    (
        pairs("{}.jpg", "{}-rot.jpg"),
        "10 of 20 files have the name of another one and '-rot' (cat/0-rot.jpg beside "
        "cat/0.jpg)", "'*-rot.*'",
    ),
    (
        pairs("{}.jpg", "{}.png"),
        "10 of 20 files have the name of another one (cat/0.png beside cat/0.jpg)", "'*.png'",
    ),
    (
        [*pairs("{}.jpg", n=500), "cat/7_mask.png"],
        "1 of 1,001 files have the name of another one and '_mask' (cat/7_mask.png beside "
        "cat/7.jpg)", "'*_mask.*'",
    ),
])  # fmt: skip
def test_masks_are_named_with_the_flag_that_leaves_them_out(
    ids: list[str], note: str, glob: str
) -> None:
    first, *_ = mask_notes(ids)
    assert first == f"{note}. {WHY}{glob}"
    left = [i for i in ids if Selection(exclude=(glob.strip("'"),)).keeps(i)]
    assert 0 < len(left) < len(ids)
    assert not any(note in first for note in mask_notes(left))


@pytest.mark.parametrize("ids", [
    pairs("{}.jpg"),
    pairs("photo_{}.jpg", "photo_{}_1.jpg", "photo.jpg"),
    pairs("session1/{}.jpg", "session2/{}.jpg"),
    pairs("images/{}.jpg", "photos/{}.jpg"),
    pairs("mask_{}.jpg", classes=("with_mask", "without_mask")),
    pairs("images/{}.jpg", "more/extra-{}.jpg"),
    pairs("masks/{}.jpg"),
    pairs("{}.jpg", classes=("depth", "label")),
    [*pairs("{}.jpg", n=500), "cat/7_best.jpg"],
    pairs("{}.jpg", "{}.txt", "{}.xml"),
    [],
])  # fmt: skip
def test_names_of_photos_are_no_masks(ids: list[str]) -> None:
    assert [*mask_notes(ids)] == []


@pytest.mark.parametrize("name", ["{}.png", "cat/{}.png"])
def test_photos_and_masks_are_not_two_classes(name: str) -> None:
    (note,) = mask_notes(pairs(name, classes=("images", "masks")))
    assert note == (
        "classes 'images' and 'masks' have files of the same names: photos and their masks, not "
        "two classes? --data takes the folder whose sub-folders are the classes"
    )


paths = st.lists(
    st.tuples(
        st.sampled_from(("cat", "dog")),
        st.sampled_from(("images", "masks", "img_1", "flow", "gt", "image_masks", "x")),
        st.sampled_from(("0.png", "1.png", "2.jpg")),
    ).map("/".join),
    unique=True,
)


@given(paths)
def test_law_of_folders_beside(ids: list[str]) -> None:
    """A folder is named if one beside it is plain, or if half of its files have a photo's name."""
    files: dict[tuple[str, str], set[str]] = {}
    for path in ids:
        kind, name, file = path.split("/")
        files.setdefault((kind, name), set()).add(file[0])
    named = set()
    for (kind, name), own in files.items():
        beside = {other: files[kind, other] for k, other in files if (k, other) != (kind, name)
                  and k == kind}  # fmt: skip
        if name in MASKS:
            found = bool(beside.keys() - MASKS)
        else:
            photos = [theirs for other, theirs in beside.items() if other in PHOTOS]
            found = name not in PHOTOS and any(2 * len(own & theirs) >= len(own)
                                               for theirs in photos)  # fmt: skip
        if found:
            named.add(name)
    notes = [note for note in mask_notes(ids) if " lie in folders with the name " in note]
    assert {note.split("with the name '")[1].split("'")[0] for note in notes} == named


MASKS = {"masks", "gt", "image_masks"}
PHOTOS = {"images", "img_1", "image_masks"}


def test_a_folder_is_not_compared_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    has = masks._has

    def counted(words: re.Pattern[str], folder: PurePosixPath) -> bool:
        nonlocal looks
        looks += 1
        return has(words, folder)

    monkeypatch.setattr(masks, "_has", counted)
    assert [*mask_notes(pairs("patient_{}/a.png", n=500))] == []
    assert looks < 5 * 1000
