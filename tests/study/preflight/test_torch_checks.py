"""What is checked with torch: GPUs, networks, weights; and what only the doctor checks."""

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from study.cluster.node_report import NodeReport
from study.cluster.resources import Resources
from study.cluster.stores import Bucket
from study.diagnosis.forecast import views
from study.diagnosis.tables import check_table, node_table
from study.preflight import torch_checks
from study.preflight.checks import run_checks
from study.preflight.gpu_check import GpuReport
from study.preflight.prepare import _notes, doctor_notes
from study.preflight.setup import Setup, new_setup
from study.preflight.torch_checks import CHECKS, check_backbone, try_decoding
from tests.conftest import SIDE, TINY
from tests.support.studies.asking import ask, faults_of
from tl_core.config import Precision
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.errors import InputError

NOWHERE = "file:///proc/nothing"


def test_more_gpus_than_there_are(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [torch.device("cuda", i) for i in range(2)]
    monkeypatch.setattr("study.cluster.resources.gpus_here", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
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


def test_path_of_weights_becomes_absolute(photo_folder: Path, tiny_weights: Path) -> None:
    Path("weights.pth").symlink_to(tiny_weights)
    prepared = ask(photo_folder, backbone=TINY, mode=["freeze"], weights="weights.pth")
    assert prepared.settings.weights == str(tiny_weights)
    (fault,) = faults_of(photo_folder, backbone=TINY, mode=["freeze"], weights="nowhere.pth")
    assert "nowhere.pth does not exist" in fault


@pytest.mark.parametrize("modes", [["finetune"], ["freeze", "lp_ft"], ["scratch"]])
def test_batches_of_one_are_too_small_for_batchnorm(photo_folder: Path, modes: list[str]) -> None:
    net: dict[str, Any] = {"backbone": TINY, "weights": "none", "batch_size": "1"}
    if modes == ["scratch"]:
        del net["weights"]
    else:
        assert ask(photo_folder, mode=modes, **net).settings.batch_size == 1
        net["batchnorm"] = "train"
    assert faults_of(photo_folder, mode=modes, **net) == (
        f"--batch-size 1: the BatchNorm of {TINY} can't learn from one image of 32 px; use "
        "--batch-size 2, --batchnorm frozen or a larger --image-size",
    )
    assert ask(photo_folder, mode=modes, **net | {"batch_size": "2"}).settings.batch_size == 2


@pytest.mark.parametrize("net", [
    {},
    {"mode": ["freeze"], "backbone": TINY, "weights": "none"},
    {"backbone": TINY, "image_size": "64"},
])  # fmt: skip
def test_batches_of_one_suit_other_networks(photo_folder: Path, net: dict[str, Any]) -> None:
    assert ask(photo_folder, batch_size="1", **net).settings.batch_size == 1


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
    setup = check(photo_folder, gpus="0", precision="bf16")
    assert doctor_notes(setup) == [*given.notes], "the doctor tells it, too"
    setup.notes = ("decided for you",)
    assert setup.resources
    setup.resources = replace(setup.resources, left_out=("GPU 2: no CUDA",))
    assert doctor_notes(setup)[:2] == ["decided for you", "left out is GPU 2: no CUDA"]


@pytest.mark.parametrize("given", [{}, {"precision": "auto"}, {"precision": "fp32"}])
def test_a_cluster_that_has_no_gpu_yet_is_told_what_auto_means(
    photo_folder: Path, images: ImageSet, given: dict[str, str]
) -> None:
    setup = new_setup({"data": str(photo_folder), "backbone": TINY, "weights": "none"} | given)
    best: dict[str, Precision] = {"cpu": "bf16", "cuda": "fp32"}
    setup.gpus, setup.resources = 4, Resources(8, 0, 1.0, True, best, ({"address": "10.0.0.1"},))
    assert [*check_backbone(setup)] == []
    assert setup.settings.precision == "fp32"
    told = [*_notes(setup, images), *doctor_notes(setup)]
    why = "--precision auto means fp32 while no GPU is up that could be asked"
    assert [why in text for text in told].count(True) == (0 if "fp32" in given.values() else 2)


def test_a_compiler_that_fails_is_a_fault(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> object:
        raise RuntimeError("no working C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", fail)
    (fault,) = faults_of(photo_folder, compile=True)
    assert fault.startswith("--compile is not possible here: torch.compile fails (no working C++")
    assert fault.endswith("); install g++, or leave it out")


def check(folder: Path | str, **given: Any) -> Setup:
    """Check a study as the doctor does."""
    quick = {"backbone": TINY, "weights": "none", "image_size": str(SIDE), "offline": True}
    setup = new_setup(quick | {"data": str(folder), "train_ratio": ["0.2"]} | given)
    setup.doctor = True
    run_checks(setup, CHECKS)
    return setup


def rows(setup: Setup) -> dict[str, str]:
    """The doctor's table: what was found, by what was checked."""
    names, _, found = check_table(setup).columns
    return dict(zip(map(str, names.cells), map(str, found.cells), strict=True))


def test_a_set_up_without_a_fault(photo_folder: Path, own_cache: Path) -> None:
    setup = check(photo_folder, gpus="0", name="mine", precision="fp32")
    assert setup.faults == []
    found = rows(setup)
    folder, weights = found.pop("folder"), found.pop("backbone")
    machines = found.pop("machines")
    assert list(found.items()) == [
        ("settings", "16 trials of freeze finetune at 1 train ratio"),
        ("data", f"{photo_folder}: 40 images of 2 classes; 40 of 40 tried"),
        ("tracking", "off: nothing is sent to MLflow"),
        ("storage", "checkpoints go into the study's folder"),
    ]
    assert setup.resources
    assert machines.startswith(f"{setup.resources.describe(0)}, fp32; ")
    assert re.search(r"; [\d.]+ [MG]B of memory free", machines)
    assert re.fullmatch(rf"runs/mine: .* MB to be written, and .* MB into {own_cache}", folder)
    assert weights.startswith(f"{TINY}: 1,024 features, weights ")
    assert list(rows(setup)) == [
        "settings", "machines", "data", "backbone", "folder", "tracking", "storage",
    ]  # fmt: skip
    # Random weights are drawn for the search, for the repeats and for each fresh seed.
    assert views(setup) == 40 * (1 + 1 + 5)
    assert not own_cache.exists()


def test_the_doctor_takes_no_memory_of_gpus(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [GpuReport("3", 70, 80), GpuReport("5", fault="no CUDA")]
    asked = {("3", "5"): reports, (): []}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(torch_checks, "nvidia_gpus", lambda: 2)
    monkeypatch.setattr(torch_checks, "ask_gpus", lambda names: asked[tuple(names)])
    gpus = [torch.device("cuda", i) for i in range(2)]
    monkeypatch.setattr("study.cluster.node_report.gpus_here", lambda: gpus)
    ((node, report),) = [(n.node, n.report) for n in check(photo_folder, gpus="0").nodes]
    assert isinstance(report, NodeReport)
    assert (node.gpus, report.gpu_memory) == (2, ((70, 80), (0, 0)))


def test_pets_are_not_downloaded_by_the_doctor(own_cache: Path) -> None:
    setup = check("oxford-pet")
    assert setup.faults == []
    assert rows(setup)["data"].startswith("oxford-pet is downloaded into ")
    assert (setup.source, views(setup)) == (None, 0)
    assert not own_cache.exists()


def test_a_cluster_that_is_not_there_leaves_the_other_checks(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(address: str) -> None:
        raise InputError([f"--address {address}: nobody"])

    monkeypatch.setattr("study.cluster.join.join", nobody)
    setup = check(photo_folder, address="10.0.0.9:6379", storage=NOWHERE, gpus="2")
    address, storage = map(str, setup.faults)
    assert address == "--address 10.0.0.9:6379: nobody"
    assert storage.startswith(f"--storage {NOWHERE}: ")
    assert (setup.resources, setup.nodes) == (None, [])
    found = rows(setup)
    assert found["machines"] == found["storage"] == "listed below"
    assert found["backbone"].startswith(TINY)
    assert found["folder"] == str(setup.folder)


@pytest.mark.parametrize("skip", [False, True])
def test_broken_images_are_a_fault_unless_they_are_left_out(
    photo_folder: Path, skip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photo_folder / "cat" / "bad.jpg").write_bytes(b"no picture")
    monkeypatch.setattr("study.preflight.torch_checks._LONG_S", math.inf)
    setup = check(photo_folder, **{"skip_bad_images": True} if skip else {})
    why = "1 file is not a readable image (--skip-bad-images omits it, --exclude GLOB leaves out "
    why += "files by name):"
    assert [*map(str, setup.faults[:1])] == ([] if skip else [why])
    if skip:
        assert rows(setup)["data"].endswith("; 41 of 41 tried; 1 unreadable file")


def test_a_local_bucket_that_can_not_be_written_marks_this_machine(
    photo_folder: Path, tmp_path: Path
) -> None:
    def storage(setup: Setup) -> list[str]:
        [column] = [c for c in node_table(setup).columns if c.header == "storage"]
        return [*map(str, column.cells)]

    assert storage(check(photo_folder, storage=NOWHERE)) == ["can't be written"]
    uri = (tmp_path / "bucket").as_uri()
    Bucket(uri, "mine").write("winner/model.json", b"another's")
    setup = check(photo_folder, name="mine", storage=uri)
    why = f"{uri}/mine has another study's files; choose another name or remove them"
    assert [*map(str, setup.faults)] == [f"--name mine: {why}"]
    assert storage(setup) == ["can be written"]


def test_what_is_not_decoded_yet_is_timed(photo_folder: Path, own_cache: Path) -> None:
    undecoded, bad = try_decoding(folder_source(photo_folder), SIDE, own_cache)
    assert undecoded is not None
    assert undecoded.number == 40
    assert undecoded.per_s > 0
    assert bad == []
    assert not own_cache.exists()


@pytest.mark.parametrize("decoded", [False, True])
def test_a_broken_file_is_found_with_its_reason(
    photo_folder: Path, own_cache: Path, decoded: bool
) -> None:
    (photo_folder / "cat" / "bad.jpg").write_bytes(b"no picture")
    source = folder_source(photo_folder)
    if decoded:
        load_images(source, SIDE, own_cache, skip_bad_images=True)
    undecoded, bad = try_decoding(source, SIDE, own_cache)
    assert (undecoded is None) == decoded
    [(name, reason)] = bad
    assert name == "cat/bad.jpg"
    assert reason.startswith("a text file")


def test_the_doctor_notes_what_pixels_show_once_they_are_cached(photo_folder: Path) -> None:
    folders = [photo_folder / name for name in ("cat", "dog")]
    for i, folder in enumerate(folders):
        deep = np.full((9, 9), 1000 + 3000 * i, dtype=np.uint16)
        Image.fromarray(deep).save(folder / "deep.png")
    (photo_folder / "runs" / "first").mkdir(parents=True)
    for name in ("study.json", "ledger.jsonl"):
        (photo_folder / "runs" / "first" / name).write_text("{}")
    first = min(folders[0].glob("*.*g"))
    first.with_name(f"again{first.suffix}").write_bytes(first.read_bytes())
    setup = check(photo_folder)
    assert setup.source
    [passed] = doctor_notes(setup)
    decoded = ask(photo_folder)
    cached = {*setup.settings.cache.rglob("*")}
    found = doctor_notes(check(photo_folder))
    assert [*found] == [*decoded.notes]
    assert found[0] == passed
    assert found[1].startswith("1 image is a copy of 1 other photo (the same pixels)")
    assert found[2].startswith("2 pictures of 16-bit grey: 0 becomes black")
    assert {*setup.settings.cache.rglob("*")} == cached
    shutil.rmtree(setup.settings.cache / "copies")
    cached = {*setup.settings.cache.rglob("*")}
    assert doctor_notes(check(photo_folder)) == found
    assert {*setup.settings.cache.rglob("*")} == cached


def test_the_doctor_notes_a_test_set_of_one_group_before_decoding(photo_folder: Path) -> None:
    for file in [*photo_folder.rglob("*.*g")]:
        number = int(re.sub(r"\D", "", file.stem)) % 8
        file.rename(file.with_name(f"farm{number}_{file.name}"))
    setup = check(photo_folder, group_regex=r"farm(\d)")
    assert setup.faults == []
    *_, balance, one_group = doctor_notes(setup)
    assert "of 1 group, validation" in balance
    assert one_group.startswith("all test images are of one group, so no interval will be about")


@pytest.mark.parametrize(("seconds", "tried"), [(0, 1), (math.inf, 600)])
def test_all_images_are_tried_if_there_is_time(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, tried: int
) -> None:
    monkeypatch.setattr("study.preflight.torch_checks._LONG_S", seconds)
    for i in range(600):
        file = tmp_path / "all-broken" / "ab"[i % 2] / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no picture")
    undecoded, bad = try_decoding(folder_source(tmp_path / "all-broken"), SIDE, own_cache)
    assert undecoded is not None
    assert (undecoded.number, undecoded.tried) == (600, tried)
    assert len({name for name, _ in bad}) == tried
