"""The device module; and that, but for CUDA graphs, nothing else asks for a kind of device."""

import ast
import os
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch

from study.preflight.gpu_check import check_product
from tests.support.core.fake_gpu import fake_gpu
from tests.support.sources import ROOT, files_of, nodes_of
from tl_core.device import (
    CPU,
    CopyEvent,
    best_precision,
    choose_algorithms,
    find_device,
    gpu_names,
    gpus_here,
    host_like,
    is_gpu,
    is_in_use,
    random_states,
    restore_random_states,
    set_deterministic,
    upload,
)
from tl_core.gpu_memory import is_out_of_memory, memory, release_memory

KINDS = {"cuda", "xpu", "mps", "accelerator"}


def of_a_kind(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """What some code asks of one kind of device, by line."""
    for node in nodes:
        match node:
            case ast.Attribute(ast.Name("torch"), name) if name in KINDS:
                yield f"{node.lineno}: torch.{name}"
            case ast.Attribute(_, "is_cuda" | "is_xpu" | "is_mps" as name):
                yield f"{node.lineno}: {name}"
            case ast.Import([ast.alias(name)]) | ast.ImportFrom(str(name)) if (
                name.startswith("torch.") and name.split(".")[1] in KINDS
            ):
                yield f"{node.lineno}: {name}"
            case ast.Compare(ast.Attribute(_, "type"), _, [ast.Constant(str(name))]) if name in {
                *KINDS,
                "cpu",
            }:
                yield f"{node.lineno}: type {name}"


def test_only_the_device_module_asks_for_a_kind_of_device() -> None:
    files = files_of("tl_core", "study", "benchmarks")
    assert len(files) > 200
    found = {str(file.relative_to(ROOT)): [*of_a_kind(nodes_of(file))] for file in files}
    for name in ("tl_core/device.py", "tl_core/training/steps/cuda_graph.py"):
        assert len(found.pop(name)) > 4
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("source", [
    "import torch\ntorch.cuda.empty_cache()", "import torch.cuda", "from torch.mps import seed",
    "labels.is_cuda", "device.type == 'cuda'", "torch.accelerator.device_count",
])  # fmt: skip
def test_it_is_found(source: str) -> None:
    assert len([*of_a_kind(ast.walk(ast.parse(source)))]) == 1


def test_the_cpu_is_no_gpu() -> None:
    assert not is_gpu(CPU)
    assert not is_in_use(CPU)
    release_memory(CPU)
    with pytest.raises(ValueError, match="device cpu has no memory of its own; a GPU is expected"):
        memory(CPU)
    values = np.arange(3)
    assert upload(values, CPU).data_ptr() == values.ctypes.data
    CopyEvent(CPU).wait()


def test_random_states_come_back() -> None:
    states = random_states(CPU)
    first = torch.rand(3)
    restore_random_states(CPU, states)
    assert torch.equal(torch.rand(3), first)


def test_a_copy_on_the_host_has_the_layout_of_what_it_is_for() -> None:
    like = torch.empty(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert host_like(like).stride() == like.stride()


def test_a_gpu_of_limited_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(monkeypatch, 1000) as gpu:
        assert is_gpu(CPU)
        assert gpus_here() == [torch.device("cpu", 0)]
        assert gpu_names() == ["fake GPU"]
        kept = torch.zeros(100)
        assert memory(CPU) == (600, 1000)
        with pytest.raises(torch.OutOfMemoryError, match="1004 of 1000 bytes"):
            torch.zeros(151)
        assert memory(CPU) == (600, 1000)
        kept += 1  # In place: no byte more.
        assert kept.view(10, 10).sum().item() == 100
        del kept
        assert memory(CPU) == (1000, 1000)
        release_memory(CPU)
        assert (gpu.emptied, gpu.most) == (1, 400 + 4)
    assert not is_gpu(CPU)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((12, 0), "bf16")],
)
def test_each_gpu_of_nvidia_is_asked_itself(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {torch.device("cuda", 0): (9, 0), torch.device("cuda", 1): capability}
    monkeypatch.setattr(torch.cuda, "get_device_capability", found.__getitem__)
    assert best_precision(torch.device("cuda", 0)) == "bf16"
    assert best_precision(torch.device("cuda", 1)) == precision


@pytest.mark.parametrize("found", [None, torch.device("mps"), torch.device("xpu")])
def test_without_a_gpu_that_has_float64_networks_run_on_the_cpu(
    found: torch.device | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: found)
    assert find_device() == CPU
    assert (gpus_here(), gpu_names()) == ([], [])


def test_deterministic_algorithms_are_for_the_whole_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    flags = torch.backends.cudnn
    monkeypatch.setattr(flags, "benchmark", flags.benchmark)
    monkeypatch.setattr(flags, "allow_tf32", flags.allow_tf32)
    try:
        set_deterministic(True)
        choose_algorithms(torch.device("cuda"), "fp32")
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert (flags.benchmark, flags.allow_tf32) == (False, False)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        set_deterministic(False)
    choose_algorithms(torch.device("cuda"), "bf16")
    assert (flags.benchmark, flags.allow_tf32) == (True, True)


@pytest.mark.parametrize(("error", "is_one"), [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
    (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be late"), True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(h)`"), True),
    (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
    (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: not enough"), False),
    (MemoryError(), False),
])  # fmt: skip
def test_errors_of_a_gpu_that_is_too_small(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) == is_one


def test_a_wrong_product_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    check_product(CPU)
    right = torch.Tensor.__matmul__

    def flip(left: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        product = right(left, other)
        product[3, :2] += 1 if product.is_floating_point() else 0
        return product

    monkeypatch.setattr(torch.Tensor, "__matmul__", flip)
    with pytest.raises(RuntimeError, match="2 of 65536 numbers of a product of matrices are wrong"):
        check_product(CPU)
