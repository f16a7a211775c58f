"""How much memory a GPU has, and errors of one that is too small."""

import pytest
import torch

from tests.support.core.fake_gpu import fake_gpu
from tl_core.device import CPU, gpu_names, gpus_here, is_gpu
from tl_core.gpu_memory import is_out_of_memory, memory, release_memory


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


@pytest.mark.parametrize(("error", "is_one"), [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
    (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be late"), True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(h)`"), True),
    (RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnX"), True),
    (RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling "
                  "`cusolverDnCreate(handle)`"), True),
    (RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling "
                  "`cusolverDnXpotrf( handle)`"), False),
    (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
    (RuntimeError("FIND was unable to find an engine to execute this computation"), True),
    (RuntimeError("GET was unable to find an engine to execute this computation"), True),
    (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: not enough"), False),
    (MemoryError(), False),
])  # fmt: skip
def test_errors_of_a_gpu_that_is_too_small(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) == is_one
