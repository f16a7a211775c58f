import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from study.ledger import Story
from study.prepare import Prepared, check, prepare
from study.storage import Bucket
from tests.conftest import SIDE, TINY, draw_folder
from tests.study.builders import make_record
from tl_core.errors import InputError


def ask(folder: Path, **given: Any) -> Prepared:
    """Prepare the quickest study there is: the article's net on 32 px images, from scratch."""
    quick = {"data": str(folder), "backbone": "mlp", "mode": ["scratch"], "image_size": str(SIDE)}
    return prepare({"train_ratio": ["0.2"]} | quick | given)


def faults_of(folder: Path, **given: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        ask(folder, **given)
    return caught.value.faults


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


def test_more_gpus_than_there_are(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    (fault,) = faults_of(photo_folder, gpus="3")
    assert fault.startswith("--gpus 3: this machine has 2;")
    assert ask(photo_folder).gpus == 2
    assert ask(photo_folder, gpus="1").gpus == 1


def test_trials_per_gpu_without_a_gpu(photo_folder: Path) -> None:
    faults = faults_of(photo_folder, gpus="0", trials_per_gpu="2")
    assert faults == ("--trials-per-gpu 2 is not read without a GPU",)


@pytest.mark.parametrize("modes", [["freeze"], ["scratch", "finetune", "lp_ft"]])
def test_backbone_without_pretrained_weights(photo_folder: Path, modes: list[str]) -> None:
    needing = " ".join(mode for mode in modes if mode != "scratch")
    assert faults_of(photo_folder, mode=modes) == (
        f"--mode {needing}: mlp has no pretrained weights; use --mode scratch, --weights FILE, "
        "or --weights none for random ones",
    )
    assert ask(photo_folder, mode=modes, weights="none").settings.mode == tuple(modes)


def test_weights_of_another_network(photo_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(torch.nn.Linear(2, 2).state_dict(), file)
    (fault,) = faults_of(photo_folder, backbone=TINY, mode=["freeze"], weights=str(file))
    assert re.match(rf"weights file {file} is not for {TINY}: \d+ missing \(", fault)
    assert "2 unexpected (weight, bias)" in fault


def test_missing_weights_file(photo_folder: Path) -> None:
    (fault,) = faults_of(photo_folder, backbone=TINY, mode=["freeze"], weights="nowhere.pth")
    assert "nowhere.pth" in fault


def test_path_of_weights_becomes_absolute(photo_folder: Path, tiny_weights: Path) -> None:
    Path("weights.pth").symlink_to(tiny_weights)
    prepared = ask(photo_folder, backbone=TINY, mode=["freeze"], weights="weights.pth")
    assert prepared.settings.weights == str(tiny_weights)


def test_image_too_small_for_the_backbone(photo_folder: Path) -> None:
    (fault,) = faults_of(photo_folder, backbone="vit_b_16", weights="none", mode=["freeze"])
    assert fault.startswith("vit_b_16 does not take 32 x 32 images")
    assert fault.endswith("use --image-size 224")


@pytest.mark.parametrize("modes", [["finetune"], ["freeze", "lp_ft"], ["scratch"]])
def test_batches_of_one_are_too_small_for_batchnorm(photo_folder: Path, modes: list[str]) -> None:
    net: dict[str, Any] = {"backbone": TINY, "weights": "none", "batch_size": "1"}
    if modes == ["scratch"]:
        del net["weights"]
    assert faults_of(photo_folder, mode=modes, **net) == (
        f"--batch-size 1: the BatchNorm of {TINY} can't learn from one image of 32 px; use "
        "--batch-size 2, a larger --image-size or --mode freeze",
    )
    assert ask(photo_folder, mode=modes, **net | {"batch_size": "2"}).settings.batch_size == 2


def test_batches_of_one_suit_other_networks(photo_folder: Path) -> None:
    assert ask(photo_folder, batch_size="1").settings.batch_size == 1
    heads = {"mode": ["freeze"], "backbone": TINY, "weights": "none"}
    assert ask(photo_folder, batch_size="1", **heads).settings.batch_size == 1
    assert ask(photo_folder, batch_size="1", backbone=TINY, image_size="64").settings.image_size


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
    assert told[0].startswith("2 files are not readable images (--skip-bad-images goes on")
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
    story = Story(records={trial: make_record(trial) for trial in range(ended)})
    prepared = replace(ask(photo_folder, name="mine", trials="7"), story=story)
    assert prepared.introduce().startswith(f"mine: {said}")


def test_large_photos_are_decoded_without_complaint(photo_folder: Path) -> None:
    Image.new("RGB", (3000, 2000)).save(photo_folder / "cat" / "large.jpg")
    assert len(ask(photo_folder).images.labels) == 41


@pytest.mark.parametrize(("native", "chosen"), [(False, "fp32"), (True, "bf16")])
def test_precision_is_what_the_hardware_has_unless_given(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch, native: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert ask(photo_folder, gpus="0").settings.precision == chosen
    given = ask(photo_folder, gpus="0", precision="bf16")
    assert given.settings.precision == "bf16"
    emulated = ("this hardware emulates bf16, which takes many times as long as fp32",)
    assert given.notes == (() if native else emulated)


def test_a_compiler_that_fails_is_a_fault(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> object:
        raise RuntimeError("no working C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", fail)
    assert faults_of(photo_folder, compile=True) == (
        "--compile: torch.compile fails here (no working C++ compiler); install g++, or leave "
        "--compile out",
    )
