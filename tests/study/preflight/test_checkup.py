"""What is found wrong with a set-up, and what is only told of it."""

from pathlib import Path
from typing import Any

import pytest

from study.cluster.stores import Bucket
from study.preflight.checkup import Checkup, examine
from tests.conftest import SIDE, TINY
from tl_core.errors import InputError

NOWHERE = "file:///proc/nothing"


def look(**given: Any) -> Checkup:
    quick = {"backbone": TINY, "weights": "none", "image_size": SIDE, "offline": True}
    words = {name: value if value is True else str(value) for name, value in quick.items()}
    return examine(words | given, lambda _: None)


def found(c: Checkup) -> dict[str, str]:
    return {check.what: check.told for check in c.checks}


def test_a_set_up_without_a_fault(photo_folder: Path, own_cache: Path) -> None:
    c = look(data=str(photo_folder), train_ratio=["0.2"], gpus="0")
    assert c.faults == []
    assert found(c)["data"] == f"{photo_folder}: 40 images of 2 classes"
    assert found(c)["tracking"] == "off: nothing is sent to MLflow"
    # Random weights are drawn anew for each fresh seed.
    assert c.views == 40 * (1 + 5)
    assert not own_cache.exists()


def test_default_ratios_that_do_not_fit_are_left_out(photo_folder: Path) -> None:
    c = look(data=str(photo_folder))
    assert c.faults == []
    assert "train ratios left out" in found(c)["data"]
    assert c.settings.train_ratio[0] == 0.05


def test_pets_are_not_downloaded(own_cache: Path) -> None:
    c = look(data="oxford-pet")
    assert c.faults == []
    assert found(c)["data"].startswith("oxford-pet is to be downloaded into ")
    assert (c.source, c.views) == (None, 0)
    assert not own_cache.exists()


def test_nothing_is_looked_for_in_a_cluster_that_is_not_there(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(address: str) -> None:
        raise InputError([f"--address {address}: nobody"])

    monkeypatch.setattr("study.preflight.checkup.join", nobody)
    c = look(data=str(photo_folder), address="10.0.0.9:6379", storage=NOWHERE, gpus="2")
    told = [str(fault) for fault in c.faults if fault.flag != "--train-ratio"]
    assert told[0] == "--address 10.0.0.9:6379: nobody"
    assert told[1].startswith(f"--storage {NOWHERE}: ")
    assert (c.resources, c.seen, len(told)) == (None, [], 2)


@pytest.mark.parametrize("skip", [False, True])
def test_broken_pictures_are_a_fault_unless_they_are_to_be_skipped(
    photo_folder: Path, skip: bool
) -> None:
    (photo_folder / "cat" / "bad.jpg").write_bytes(b"no picture")
    more = {"skip_bad_images": True} if skip else {}
    c = look(data=str(photo_folder), train_ratio=["0.2"], **more)
    told = "1 file is not a readable image (--skip-bad-images omits it):"
    assert [*map(str, c.faults[:1])] == ([] if skip else [told])
    assert found(c)["data"].endswith("; 1 unreadable file among those tried")


def test_a_local_bucket_that_can_not_be_written_marks_this_machine(photo_folder: Path) -> None:
    c = look(data=str(photo_folder), train_ratio=["0.2"], storage=NOWHERE)
    ((node, why),) = c.stored.items()
    assert node.address == "this machine"
    assert why.startswith(f"--storage {NOWHERE}: ")


def test_a_bucket_that_has_a_study_of_this_name_is_no_fault_of_the_machine(
    photo_folder: Path, tmp_path: Path
) -> None:
    uri = (tmp_path / "bucket").as_uri()
    Bucket(uri, "mine").write("winner/model.json", b"another's")
    given = {"data": str(photo_folder), "train_ratio": ["0.2"], "storage": uri}
    c = look(**given, name="mine")
    files = f"{uri}/mine has another study's files"
    assert [*map(str, c.faults)] == [f"--name mine: {files}; choose another name or remove them"]
    assert c.stored == {}
    assert look(**given, name="yours").faults == []
