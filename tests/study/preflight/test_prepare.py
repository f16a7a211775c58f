import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from study.cluster.stores import Bucket
from study.preflight.prepare import check, prepare
from study.records.ledger import StudyState
from tests.conftest import SIDE, draw_folder
from tests.support.studies.asking import ask, faults_of
from tests.support.studies.builders import make_record
from tl_core.errors import InputError


def test_study_that_can_start(photo_folder: Path) -> None:
    prepared = ask(photo_folder, name="mine", gpus="0")
    assert prepared.folder == Path("runs/mine")
    assert not prepared.folder.exists()
    assert prepared.settings.name == "mine"
    assert len(prepared.images.labels) == 40
    assert prepared.images.image_size == SIDE
    assert (prepared.gpus, prepared.notes) == (0, ())


def test_a_new_study_takes_no_bucket_of_another_and_one_that_goes_on_its_own(
    photo_folder: Path, tmp_path: Path
) -> None:
    uri = (tmp_path / "bucket").as_uri()
    prepared = ask(photo_folder, name="mine", storage=uri, gpus="0")
    Bucket(uri, "mine").write("winner/model.json", b"one")
    why = f"{uri}/mine has another study's files; choose another name or remove them"
    elsewhere = str(tmp_path / "elsewhere")
    assert faults_of(photo_folder, name="mine", storage=uri, out=elsewhere) == (
        f"--name mine: {why}",
    )
    assert check(prepared.settings, []).settings == prepared.settings


def test_name_is_made_of_data_preset_and_time(photo_folder: Path) -> None:
    spaced = photo_folder.rename(photo_folder.with_name("my photos (2)"))
    time = r"\d{8}-\d{6}"
    assert re.fullmatch(f"my-photos-2-{time}", str(ask(spaced).settings.name))
    debug = ask(spaced, debug=True).settings.name
    assert re.fullmatch(f"my-photos-2-debug-{time}", str(debug))
    preset = ask(spaced, preset="mlp", train_ratio=["0.8"]).settings.name
    assert re.fullmatch(f"my-photos-2-mlp-{time}", str(preset))


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    faults = faults_of(
        tmp_path / "nowhere",
        lr=["-1"],
        train_ratio=["0.9"],
        backbone="resnet81",
        name="taken",
        gpus="99",
    )
    starts = (
        "--train-ratio 0.9: must be less than or equal to 0.8",
        "--lr -1: must be greater than 0",
        "--name taken: runs/taken exists",
        "--gpus 99: this machine has",
        f"data folder {tmp_path}/nowhere does not exist",
        "unknown backbone 'resnet81' (did you mean ",
    )
    assert len(faults) == len(starts), faults
    for start, fault in zip(starts, faults, strict=True):
        assert fault.startswith(start)


def test_no_picture_is_decoded_while_something_else_is_wrong(
    photo_folder: Path, own_cache: Path
) -> None:
    (photo_folder / "cat" / "broken.jpg").write_bytes(b"no picture")
    wrong = {"epochs": "0", "backbone": "resnet81", "train_ratio": ["0.8", "0.01"]}
    epochs, backbone, *ratios = faults_of(photo_folder, **wrong)
    assert epochs == "--epochs 0: must be greater than or equal to 1"
    assert backbone.startswith("unknown backbone 'resnet81'")
    assert [fault[:33] for fault in ratios] == [
        "--train-ratio 0.01: class 'cat' h",
        "--train-ratio 0.01: class 'dog' h",
    ]
    assert not own_cache.exists()


def test_too_few_pictures_are_left_without_those_that_are_broken(photo_folder: Path) -> None:
    for file in sorted((photo_folder / "cat").iterdir())[:18]:
        file.write_bytes(b"no picture")
    (fault,) = faults_of(photo_folder, skip_bad_images=True)
    assert fault.startswith("--train-ratio 0.2: class 'cat' has 2 images; train_ratio 0.2 needs 1")


def test_a_ratio_that_nobody_asked_for_is_no_fault(photo_folder: Path) -> None:
    (fault,) = faults_of(photo_folder, train_ratio=["10"])
    assert fault == "--train-ratio 10: must be less than or equal to 0.8"


def test_existing_name_is_a_fault(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "taken").mkdir(parents=True)
    faults = faults_of(photo_folder, name="taken", out=str(tmp_path / "out"))
    assert faults == (
        f"--name taken: {tmp_path}/out/taken exists; choose another name or remove it",
    )


def test_given_ratio_too_small_for_the_data(photo_folder: Path) -> None:
    # 0.01 of 50 images rounds up to one; each class has 20.
    assert faults_of(photo_folder, train_ratio=["0.8", "0.02", "0.01"]) == tuple(
        f"--train-ratio 0.01: class {name!r} has 20 images; train_ratio 0.01 needs 30 more to "
        "have one in training, validation and test each"
        for name in ("cat", "dog")
    )


def test_default_ratios_that_do_not_fit_are_left_out(photo_folder: Path) -> None:
    quick = {"data": str(photo_folder), "backbone": "mlp", "image_size": "32", "mode": ["scratch"]}
    prepared = prepare(quick)
    assert prepared.settings.train_ratio == (0.05, 0.1, 0.2, 0.4, 0.8)
    assert prepared.notes == (
        "train ratios left out, as a class would have no training image: 0.01 0.02",
    )


def test_two_images_a_class_fit_no_ratio(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "few", ("cat", "dog"), n_images=2)
    with pytest.raises(InputError, match=r"--train-ratio 0.8: class 'cat' has 2 images; .* 1 more"):
        prepare({"data": str(folder), "backbone": "mlp", "mode": ["scratch"], "image_size": "32"})


def test_unreadable_images_are_a_fault_or_left_out(photo_folder: Path) -> None:
    (photo_folder / "cat" / "broken.jpg").write_bytes(b"no picture")
    (photo_folder / "dog" / "notes.txt").write_text("no picture either")
    told = faults_of(photo_folder)
    assert told[0].startswith("2 files are not readable images (--skip-bad-images omits")
    assert [line.split(":")[0].strip() for line in told[1:]] == ["cat/broken.jpg", "dog/notes.txt"]
    prepared = ask(photo_folder, skip_bad_images=True)
    assert len(prepared.images.labels) == 40
    assert [name for name, _ in prepared.images.bad] == ["cat/broken.jpg", "dog/notes.txt"]
    assert prepared.notes == ("2 unreadable files left out; study.json lists them",)


def test_class_with_no_readable_image(photo_folder: Path) -> None:
    for file in (photo_folder / "dog").iterdir():
        file.write_bytes(b"")
    assert faults_of(photo_folder, skip_bad_images=True) == ("class 'dog' has no readable image",)


def test_introduction_says_what_is_about_to_run(photo_folder: Path) -> None:
    line = ask(photo_folder, name="mine", gpus="0", trials="7", precision="fp32").introduce()
    assert line.startswith(f"mine: 7 trials of mlp on {photo_folder}, 40 images of 2 classes")
    assert "at 32 px, in fp32 on " in line
    # Five seeds of the one cell, and of the auxiliary task's control.
    assert line.endswith("; then up to 10 trials on fresh seeds, to confirm the best of each cell")
    assert "fresh seeds" not in ask(photo_folder, confirm=False).introduce()
    assert "one trial of" in (alone := ask(photo_folder, debug=True).introduce())
    assert "fresh seeds" not in alone


@pytest.mark.parametrize(("ended", "said"), [(5, "2 more trials of"), (7, "what is left to")])
def test_introduction_of_a_study_that_goes_on(photo_folder: Path, ended: int, said: str) -> None:
    state = StudyState(records={trial: make_record(trial) for trial in range(ended)})
    prepared = replace(ask(photo_folder, name="mine", trials="7"), state=state)
    assert prepared.introduce().startswith(f"mine: {said}")


def test_large_photos_are_decoded_without_complaint(photo_folder: Path) -> None:
    Image.new("RGB", (3000, 2000)).save(photo_folder / "cat" / "large.jpg")
    assert len(ask(photo_folder).images.labels) == 41
