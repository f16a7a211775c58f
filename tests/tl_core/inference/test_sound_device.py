"""A GPU is used for predictions only if it works."""

import re
from pathlib import Path

import pytest
import torch

from tests.support.core.fake_gpu import fake_gpu
from tests.support.models import make_model
from tl_core.device import CPU
from tl_core.inference import sound_device as module
from tl_core.inference.pyfunc import _load_pyfunc
from tl_core.inference.serialization import save_model
from tl_core.inference.sound_device import check_product, sound_device


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


def test_a_gpu_that_works_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(monkeypatch, 10**9):
        monkeypatch.setattr(module, "find_device", lambda: CPU)
        assert sound_device() == (CPU, "")


def test_the_cpu_predicts_where_the_gpu_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: torch.device) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with")

    monkeypatch.setattr(module, "find_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(module, "check_product", fail)
    why = (
        "the CPU is used, as the GPU can't work: RuntimeError: CUDA error: uncorrectable ECC "
        "error encountered"
    )
    assert sound_device() == (CPU, why)
    save_model(tmp_path, make_model())
    with pytest.warns(UserWarning, match=f"^{re.escape(why)}$"):
        assert _load_pyfunc(str(tmp_path)).model.device == CPU
