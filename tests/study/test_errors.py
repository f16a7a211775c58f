"""How errors are told in a line."""

import pytest
from ray.exceptions import RayTaskError

from study.errors import why_failed

CUDA = RuntimeError("CUDA error: an illegal memory access\nCompile with `TORCH_USE_CUDA_DSA`.\n")


@pytest.mark.parametrize(("error", "why"), [
    (RayTaskError("f", "Traceback\nRuntimeError: Compile", CUDA).as_instanceof_cause(),
     "RuntimeError: CUDA error: an illegal memory access"),
    (RayTaskError("f", "Traceback", KeyError()), "KeyError"),
    (RuntimeError("It died.\n\tIts node is gone. \n"), "Its node is gone."),
    (ValueError(), "ValueError"),
])  # fmt: skip
def test_what_ray_tells_of_a_failure_is_its_reason(error: Exception, why: str) -> None:
    assert why_failed(error) == why
