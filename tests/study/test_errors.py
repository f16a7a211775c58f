"""How errors are told in a line."""

import pytest
from ray.exceptions import RayTaskError

from study.errors import why_failed

CUDA = RuntimeError("CUDA error: an illegal memory access\nCompile with `TORCH_USE_CUDA_DSA`.\n")


def of_task(cause: Exception) -> Exception:
    """What `ray.get` raises for a task that has failed."""
    error = RayTaskError("f", f"Traceback\n{cause}", cause)  # type: ignore[no-untyped-call]
    found: Exception = error.as_instanceof_cause()  # type: ignore[no-untyped-call]
    return found


@pytest.mark.parametrize(("error", "why"), [
    (of_task(CUDA), "RuntimeError: CUDA error: an illegal memory access"),
    (of_task(KeyError()), "KeyError"),
    (RuntimeError("It died.\n\tIts node is gone. \n"), "Its node is gone."),
    (ValueError(), "ValueError"),
])  # fmt: skip
def test_what_ray_tells_of_a_failure_is_its_reason(error: Exception, why: str) -> None:
    assert why_failed(error) == why
