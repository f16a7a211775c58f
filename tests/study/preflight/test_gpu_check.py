"""GPUs that fail their check, or are full, are left out; the others come by free memory."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
import torch

from study.preflight import gpu_check
from study.preflight.gpu_check import (
    VISIBLE,
    GpuReport,
    choose,
    leave_out_sick_gpus,
    main,
    wait,
)
from tests.support.core.fake_gpu import fake_gpu
from tests.support.study_fixtures import Patch
from tl_core.device import CPU
from tl_core.errors import InputError

GIB = 2**30


def test_gpus_are_ordered_by_free_memory_and_sick_or_full_ones_left_out() -> None:
    reports = [
        GpuReport("0", 10 * GIB), GpuReport("1", fault="no CUDA"), GpuReport("2", 70 * GIB),
        GpuReport("3", GIB - 1), GpuReport("4", 10 * GIB), GpuReport("5", GIB // 4),
    ]  # fmt: skip
    assert choose(reports) == (["2", "0", "4"], (
        "GPU 1: no CUDA", "GPU 3: 1.00 GiB are free, at least 1 are needed",
        "GPU 5: 0.25 GiB are free, at least 1 are needed",
    ))  # fmt: skip


def test_a_machine_whose_gpus_are_all_sick_is_an_error() -> None:
    text = r"no GPU of this machine can work: GPU 0: no CUDA; GPU 1: .*; --gpus 0 uses the CPU$"
    with pytest.raises(InputError, match=text):
        choose([GpuReport("0", fault="no CUDA"), GpuReport("1", 5)])


class Machine:
    """NVIDIA's GPUs by name, of which a process sees those that its variable names."""

    def __init__(self, patch: Patch, reports: dict[str, GpuReport], follows: bool = True) -> None:
        self.reports, self.follows, self.asked = reports, follows, list[str]()
        patch.setattr(gpu_check, "nvidia_gpus", self._count)
        patch.setattr(gpu_check, "ask_gpus", self._check)

    def _count(self) -> int:
        names = os.environ.get(VISIBLE)
        return len(names.split(",")) if names and self.follows else len(self.reports)

    def _check(self, names: list[str]) -> list[GpuReport]:
        self.asked = names
        return [self.reports[name] for name in names]


REPORTS = {
    name: GpuReport(name, free * GIB) for name, free in {"0": 9, "1": 0, "2": 40, "3": 80}.items()
}


@pytest.mark.parametrize(("given", "asked", "left"), [
    (None, ["0", "1", "2", "3"], "3,2,0"), ("2, 1,3", ["2", "1", "3"], "3,2"),
])  # fmt: skip
def test_the_study_sees_the_gpus_that_work(
    given: str | None, asked: list[str], left: str, monkeypatch: Patch
) -> None:
    monkeypatch.setenv(VISIBLE, given or "")
    machine = Machine(monkeypatch, REPORTS)
    reasons = leave_out_sick_gpus()
    assert reasons == ("GPU 1: 0.00 GiB are free, at least 1 are needed",)
    assert (machine.asked, os.environ[VISIBLE]) == (asked, left)


def test_mig_instances_that_a_process_does_not_see_are_told(monkeypatch: Patch) -> None:
    monkeypatch.setenv(VISIBLE, "MIG-a,MIG-b, MIG-c")
    machine = Machine(monkeypatch, {"MIG-a": GpuReport("MIG-a", 9 * GIB)})
    monkeypatch.setattr(gpu_check, "nvidia_gpus", lambda: 1)
    why = "CUDA gives a process one MIG instance; CUDA_VISIBLE_DEVICES=MIG-{} runs another study"
    assert leave_out_sick_gpus() == tuple(f"GPU MIG-{n}: {why.format(n)} there" for n in "bc")
    assert (machine.asked, os.environ[VISIBLE]) == (["MIG-a"], "MIG-a")


def test_a_process_that_sees_them_all_nevertheless_is_told_the_way_out(monkeypatch: Patch) -> None:
    monkeypatch.setenv(VISIBLE, "")
    Machine(monkeypatch, REPORTS, follows=False)
    text = "GPU 1: .*: torch still sees 4 GPUs; set CUDA_VISIBLE_DEVICES=3,2,0 and start again"
    with pytest.raises(InputError, match=text):
        leave_out_sick_gpus()


def test_without_a_gpu_of_nvidia_nothing_is_checked(monkeypatch: Patch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    machine = Machine(monkeypatch, {})
    assert leave_out_sick_gpus() == ()
    assert machine.asked == []
    assert VISIBLE not in os.environ


def python(code: str) -> "subprocess.Popen[str]":
    """A process in place of a check."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-S", "-c", code]
    return subprocess.Popen(command, encoding="utf-8", stdout=pipe, stderr=pipe)


@pytest.mark.parametrize(("code", "report"), [
    ("print('{\"free\": 7}')", GpuReport("2", 7)),
    ("import sys; sys.exit('first\\nCUDA error: uncorrectable ECC error ')",
     GpuReport("2", fault="CUDA error: uncorrectable ECC error")),
    ("import os; os.abort()", GpuReport("2", fault="its check ended with code -6")),
])  # fmt: skip
def test_a_check_tells_free_memory_or_the_fault(code: str, report: GpuReport) -> None:
    assert wait("2", python(code), time.monotonic() + 60) == report


def test_a_gpu_that_hangs_is_left_out() -> None:
    process = python("import time; time.sleep(600)")
    assert wait("2", process, 0.0).fault == "its check has not ended within 120 s"
    assert process.wait(60) == -9


def test_the_check_of_one_gpu(monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_check, "gpus_here", lambda: [CPU])
    with fake_gpu(monkeypatch, 3 * GIB):
        main()
    found = json.loads(capsys.readouterr().out)
    assert 2.9 * GIB < found["free"] <= 3 * GIB == found["total"]


@pytest.mark.parametrize(("says", "fault"), [
    ("", "RuntimeError: torch finds no GPU there"),
    ("The NVIDIA driver on your system is too old (found version 12020).\nPlease update it.",
     "RuntimeError: The NVIDIA driver on your system is too old (found version 12020)."),
])  # fmt: skip
def test_a_gpu_that_torch_does_not_find_fails_with_the_reason(
    says: str, fault: str, monkeypatch: Patch
) -> None:
    def init() -> None:
        if says:
            raise RuntimeError(says)

    monkeypatch.setattr(gpu_check, "gpus_here", list)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(SystemExit, match=f"^{re.escape(fault)}$"):
        main()


def test_the_boilerplate_of_torch_does_not_hide_the_reason(monkeypatch: Patch) -> None:
    def fail(_: torch.device) -> None:
        reason = "CUDA error: uncorrectable ECC error encountered"
        raise RuntimeError(f"{reason}\nCompile with `TORCH_USE_CUDA_DSA` to enable assertions.\n")

    monkeypatch.setattr(gpu_check, "gpus_here", lambda: [CPU])
    monkeypatch.setattr(gpu_check, "check_product", fail)
    with pytest.raises(SystemExit, match=r"^RuntimeError: CUDA error: uncorrectable ECC .*ed$"):
        main()


def test_a_gpu_that_this_torch_is_not_built_for_is_told_as_that(monkeypatch: Patch) -> None:
    def fail(_: torch.device) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(torch, "__version__", "2.14")
    monkeypatch.setattr(gpu_check, "gpus_here", lambda: [CPU])
    monkeypatch.setattr(gpu_check, "check_product", fail)
    told = "RuntimeError: torch 2.14 is not built for it: docs/places.md says which one is"
    with pytest.raises(SystemExit, match=f"^{re.escape(told)}$"):
        main()


def test_a_gpu_that_is_too_full_for_its_check_has_nothing_free(
    monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "gpus_here", lambda: [CPU])
    with fake_gpu(monkeypatch, 1000):
        main()
    assert json.loads(capsys.readouterr().out) == {"free": 0, "total": 0}
