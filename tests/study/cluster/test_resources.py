"""How many GPUs are used, of this machine's or of a cluster that may grow."""

import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from study.cluster import resources
from study.cluster.resources import (
    Resources,
    check_compiler,
    common_precision,
    gpu_faults,
    gpu_notes,
    gpus_of,
    precision_notes,
)
from study.preflight.setup import Setup
from study.preflight.torch_checks import check_machines
from study.records.ledger import StudyState
from tests.support.studies.builders import make_settings
from tl_core.config import Precision
from tl_core.errors import InputError

ALONE = Resources(8, 2, 4.0, True, {"cpu": "fp32", "cuda": "bf16"})
NODE = {"node": "10.0.0.1"}
CLUSTER = Resources(24, 4, 4.0, True, {"cpu": "fp32", "cuda": "bf16"}, (NODE, NODE))
NO_GPU_YET = Resources(8, 0, 1.0, True, {"cpu": "bf16", "cuda": "fp32"}, (NODE,))


def test_all_gpus_are_used_unless_fewer_are_asked_for() -> None:
    assert gpus_of(make_settings(data="photos"), CLUSTER) == 4
    assert gpus_of(make_settings(data="photos", gpus=1), CLUSTER) == 1


def test_a_machine_has_what_it_has_and_a_cluster_may_grow() -> None:
    eight = make_settings(data="photos", gpus=8)
    assert [*map(str, gpu_faults(eight, ALONE))] == [
        "--gpus 8: this machine has 2; leave --gpus out to use what there is, "
        "or --gpus 0 for the CPU"
    ]
    sick = replace(ALONE, left_out=("GPU 2: no CUDA",))
    assert [*map(str, gpu_faults(eight, sick))] == [
        "--gpus 8: this machine has 2; left out is GPU 2: no CUDA; leave --gpus out to use what "
        "there is, or --gpus 0 for the CPU"
    ]
    # One that goes on has the number from its start: leaving the flag out would change nothing.
    assert [*map(str, gpu_faults(eight, ALONE, new=False))] == [
        "--gpus 8: this machine has 2; --gpus 2 goes on with what there is, "
        "--gpus 0 goes on with the CPU"
    ]
    assert [*map(str, gpu_faults(eight, replace(ALONE, gpus=0), new=False))] == [
        "--gpus 8: this machine has 0; --gpus 0 goes on with the CPU"
    ]
    assert gpu_notes(2, sick) == ["left out is GPU 2: no CUDA"]
    assert gpu_faults(eight, CLUSTER) == []
    assert gpu_notes(8, CLUSTER, auto=True) == [
        "the cluster has 4 GPUs now; trials wait for the others until it grows"
    ]
    assert gpu_notes(4, CLUSTER, auto=True) == []


def test_a_cluster_without_a_gpu_takes_no_cpu_instead_without_being_told() -> None:
    nothing_said = make_settings(data="photos", address="auto")
    assert [*map(str, gpu_faults(nothing_said, NO_GPU_YET))] == [
        "--address auto: the cluster has no GPU now; --gpus N asks one that grows for so many, "
        "--gpus 0 uses its CPU cores"
    ]
    for gpus in (0, 4):
        assert gpu_faults(make_settings(data="photos", address="auto", gpus=gpus), NO_GPU_YET) == []
    assert gpu_notes(0, NO_GPU_YET, auto=True) == []
    grows = "the cluster has no GPU now; trials wait for the others until it grows"
    auto = "--precision auto means fp32 while no GPU is up that could be asked"
    assert gpu_notes(4, NO_GPU_YET, auto=True) == [grows, auto]
    assert gpu_notes(4, NO_GPU_YET) == [grows], "a format was asked for"


@pytest.mark.parametrize(("resources", "gpus", "cpus", "text"), [
    (ALONE, 2, 8, "2 GPUs"),
    (ALONE, 0, 8, "8 CPU cores"),
    (CLUSTER, 4, 16, "4 GPUs of a cluster of 2 nodes"),
    (CLUSTER, 0, 24, "24 CPU cores of a cluster of 2 nodes"),
    (NO_GPU_YET, 3, 3, "3 GPUs of a cluster of 1 node"),
])  # fmt: skip
def test_cores_that_trials_can_count_on(
    resources: Resources, gpus: int, cpus: int, text: str
) -> None:
    assert resources.cpus_for(gpus) == cpus
    assert resources.describe(gpus) == text


@pytest.mark.parametrize(("best", "common"), [
    (["bf16", "bf16"], "bf16"), (["bf16", "fp16"], "fp16"), (["fp16", "fp32"], "fp32"),
    ([], "fp32"),
])  # fmt: skip
def test_gpus_that_differ_compute_in_what_all_have(best: list[Precision], common: str) -> None:
    assert common_precision(best) == common


@pytest.mark.parametrize(("asked", "best", "on_gpu", "noted"), [
    ("fp16", "bf16", True, False), ("fp16", "bf16", False, True), ("bf16", "fp16", True, True),
    ("fp32", "bf16", True, False), ("bf16", "bf16", False, False), ("fp16", "fp32", True, True),
])  # fmt: skip
def test_a_number_format_that_hardware_lacks_is_noted(
    asked: Precision, best: Precision, on_gpu: bool, noted: bool
) -> None:
    text = f"this hardware emulates {asked}, which takes many times as long as {best}"
    asked_for = make_settings(precision=asked)
    assert precision_notes(asked_for, best, on_gpu) == ([text] if noted else [])


def test_deterministic_is_for_gpus() -> None:
    asked = make_settings(deterministic=True, gpus=0)
    assert [*map(str, gpu_faults(asked, ALONE))] == [
        "--deterministic is not read without a GPU; a CPU always is"
    ]
    assert gpu_faults(make_settings(deterministic=True, gpus=1), ALONE) == []


def test_a_deterministic_study_may_go_on_without_a_gpu() -> None:
    asked = make_settings(deterministic=True, gpus=0, data="photos")
    setup = Setup(asked, state=StudyState())
    assert [*check_machines(setup)] == []
    assert setup.notes == ("--deterministic is not read without a GPU; a CPU always is",)
    new = Setup(asked)
    assert [fault.flag for fault in check_machines(new)] == ["--deterministic"]
    assert new.notes == ()


@pytest.mark.parametrize("shared", ["auto", 2])
def test_a_study_whose_trials_share_a_gpu_may_go_on_without_one(shared: str | int) -> None:
    asked = make_settings(trials_per_gpu=shared, gpus=0, data="photos")
    setup = Setup(asked, state=StudyState())
    assert [*check_machines(setup)] == []
    assert setup.notes == (f"--trials-per-gpu {shared} is not read without a GPU",)
    new = Setup(asked)
    assert [fault.flag for fault in check_machines(new)] == ["--trials-per-gpu"]
    assert new.notes == ()


def test_auto_measures_gpus_of_this_machine_alone() -> None:
    auto = make_settings(data="photos", trials_per_gpu="auto")
    assert gpu_faults(auto, ALONE) == []
    assert [*map(str, gpu_faults(auto, CLUSTER))] == [
        "--trials-per-gpu auto measures the GPUs of this machine, and a cluster's may differ; give "
        "a number"
    ]
    none = replace(ALONE, gpus=0)
    (fault,) = gpu_faults(auto, none)
    assert str(fault) == "--trials-per-gpu auto is not read without a GPU"
    # One that goes on elsewhere has it from its start.
    assert gpu_faults(auto, none, new=False) == []


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiler keeps is this test's."""
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))


@pytest.mark.usefixtures("own_folders")
@pytest.mark.parametrize(("code", "why"), [
    ("raise SystemExit('first\\nno g++')", "no g++"),
    ("import os; os._exit(7)", "its process ended with code 7"),
    ("print('noise')", None),
])  # fmt: skip
def test_another_process_tries_the_compiler_on_a_gpu(
    code: str, why: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def process(module: str) -> tuple[list[str], dict[str, str]]:
        asked.append(module)
        return [sys.executable, "-S", "-c", code], {}

    monkeypatch.setattr(resources, "module_process", process)
    monkeypatch.setattr("torch.compile", lambda *_, **__: pytest.fail("it compiles here"))
    text = rf"^--compile is not possible here: torch.compile fails \({re.escape(str(why))}\); inst"
    with pytest.raises(InputError, match=text) if why else nullcontext():
        check_compiler(torch.device("cuda"), tmp_path)
    assert asked == ["study.cluster.resources"]


@pytest.mark.integration
@pytest.mark.usefixtures("own_folders")
def test_the_other_process_says_why_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")  # Without a GPU it compiles for the CPU.
    with pytest.raises(InputError, match=r"torch.compile fails \(.*/nowhere/g\+\+"):
        check_compiler(torch.device("cuda"), tmp_path)
