import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import TINY
from tests.support.studies.asking import ask, faults_of


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
        "--compile is not possible here: torch.compile fails (no working C++ compiler); install "
        "g++, or leave it out",
    )
