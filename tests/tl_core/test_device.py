"""The device module; and that, but for CUDA graphs, nothing else asks for a kind of device."""

import ast
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.sources import ROOT, files_of, nodes_of
from tl_core.config import Precision
from tl_core.device import (
    CPU,
    CopyEvent,
    UploadStream,
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
from tl_core.gpu_memory import memory, release_memory

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


@pytest.mark.parametrize(
    ("name", "capability", "precision"),
    [
        ("NVIDIA GeForce GTX 1080", (6, 1), "fp32"),
        ("Tesla V100-SXM2-16GB", (7, 0), "fp16"),
        ("Tesla T4", (7, 5), "fp16"),
        ("NVIDIA GeForce GTX 1660 Ti", (7, 5), "fp32"),
        ("NVIDIA A100-SXM4-40GB", (8, 0), "bf16"),
        ("NVIDIA GeForce RTX 5090", (12, 0), "bf16"),
    ],
)
def test_each_gpu_of_nvidia_is_asked_itself(
    name: str, capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {torch.device("cuda", 0): (9, 0), torch.device("cuda", 1): capability}
    monkeypatch.setattr(torch.cuda, "get_device_capability", found.__getitem__)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert best_precision(torch.device("cuda", 0)) == "bf16"
    assert best_precision(torch.device("cuda", 1)) == precision


@pytest.mark.parametrize("found", [None, torch.device("mps"), torch.device("xpu")])
def test_without_a_gpu_that_has_float64_networks_run_on_the_cpu(
    found: torch.device | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: found)
    assert find_device() == CPU
    assert (gpus_here(), gpu_names()) == ([], [])


@pytest.fixture
def tf32(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have products be TF32, as by `TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1`."""
    for name in ("allow_tf32", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, True
    yield
    products.allow_tf32 = before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_float32_products_are_not_tf32(tf32: None, precision: Precision) -> None:
    choose_algorithms(CPU, precision)
    assert torch.backends.cuda.matmul.allow_tf32
    choose_algorithms(torch.device("cuda"), precision)
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


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


def test_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for avx, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert best_precision(CPU) == ("bf16" if avx or amx else "fp32")


def test_what_the_gpu_computes_waits_for_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Stream:
        """A stream of a GPU that does nothing."""

        def __init__(self, name: object) -> None:
            self.name = "uploads" if isinstance(name, torch.device) else name

        def __enter__(self) -> None:
            asked.append(f"on {self.name}")

        def __exit__(self, *_: object) -> None:
            asked.append(f"off {self.name}")

        def wait_stream(self, other: "Stream") -> None:
            asked.append(f"{self.name} waits for {other.name}")

    class Host:
        """A tensor in locked memory."""

        def to(self, device: torch.device, non_blocking: bool) -> "Host":
            asked.append(f"copy to {device.type}, {non_blocking=}")
            return self

        def record_stream(self, stream: Stream) -> None:
            asked.append(f"kept for {stream.name}")

    monkeypatch.setattr(torch, "Stream", Stream)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda _: Stream("computing"))
    host: Any = Host()
    assert UploadStream(torch.device("cuda")).upload(host) is host
    assert asked == [
        "on uploads", "copy to cuda, non_blocking=True", "off uploads",
        "computing waits for uploads", "kept for computing",
    ]  # fmt: skip
    plain = torch.ones(2)
    assert UploadStream(CPU).upload(plain) is plain
