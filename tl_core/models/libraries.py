"""torchvision and timm, imported without torch's compiler.

Both import `torch._dynamo`: torchvision to detect objects, timm for one family of networks. That
takes three seconds of a core, as long as torch itself, and most processes never compile. So what
they take from it is a function that imports it when it is called.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import ModuleType
from typing import Any

from torch._compile import _disable_dynamo

__all__ = ["models", "timm_library", "torchvision", "without_compiler"]

_COMPILER = "torch._dynamo"
_UTILS = f"{_COMPILER}.utils"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Import libraries inside without torch's compiler, unless it is imported already.

    If a release takes more from it than is known here, the compiler is imported.
    """
    if _COMPILER in sys.modules:
        yield
        return
    standing_in = {
        _COMPILER: _module(_COMPILER, disable=_disable),
        _UTILS: _module(_UTILS, is_compile_supported=_is_compile_supported),
    }
    sys.modules.update(standing_in)
    try:
        yield
    finally:
        _remove(standing_in)


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content, __path__=[], __getattr__=partial(_from_compiler, name))
    return module


def _from_compiler(module: str, name: str) -> Any:
    """What a module of the compiler has under a name that nothing stands in for."""
    if name.startswith("__"):
        raise AttributeError(name)  # Imports ask for these, of any module.
    _remove({each: found for each in (_COMPILER, _UTILS) if (found := sys.modules.get(each))})
    return getattr(importlib.import_module(module), name)


def _remove(modules: dict[str, ModuleType]) -> None:
    """Take modules that stand in out of the list of what is imported."""
    for name, module in modules.items():
        if sys.modules.get(name) is module and module.__spec__ is None:
            del sys.modules[name]


def _disable(function: Any = None, recursive: bool = True, **_: Any) -> Any:
    """Like `torch.compiler.disable`; torch itself puts it off in this way for its optimizers."""
    return _disable_dynamo(function, recursive)


def _is_compile_supported(device_type: Any) -> Any:
    return importlib.import_module(_UTILS).is_compile_supported(device_type)


with without_compiler():
    import torchvision
    from torchvision import models


@cache
def timm_library() -> Any:
    """timm, whose import takes a second that torchvision's networks do not need."""
    with without_compiler():
        return importlib.import_module("timm")
