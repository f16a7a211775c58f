"""Transfer-learning trials in plain PyTorch: data, backbones, heads and one training function."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl_core.inference.serialization import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    # On demand, because it takes torch, for which the command line's --help need not wait.
    if name == "load_model":
        from tl_core.inference.serialization import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
