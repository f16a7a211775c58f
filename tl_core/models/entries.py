"""What files of weights hold, read without running code."""

import argparse
import pathlib
import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tl_core.models.weights import BackboneError

_WRAPPINGS = ("state_dict", "model", "model_state_dict")
"""Where checkpoints keep the network, beside optimizer, epoch and the like."""
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    pathlib.PosixPath,
]
"""Classes of objects in checkpoints, the arguments of a program, that run no code when read."""
_REFUSED = re.compile(r"GLOBAL (\S+) was not an allowed global")

Entries = dict[str, Tensor]
"""A state dict in a file: names and tensors."""


def read_entries(path: Path) -> Entries:
    """The tensors in a weights file, without the usual wrappings.

    A pickle that holds more than tensors is refused before any of its code runs.
    """
    loaded: object
    if _is_torchscript(path):
        command = _conversion(path, "torch.jit.load({!r}, 'cpu')")
        raise BackboneError(
            f"weights file {path} is a program of TorchScript and should be a state dict; if you "
            f"trust the file, this makes one of its tensors: {command}"
        )
    try:
        if path.suffix.lower() == ".safetensors":
            loaded = safetensors.torch.load_file(path)
        else:
            with torch.serialization.safe_globals(_HARMLESS):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # The readers may raise any error on a damaged file.
        if refused := _REFUSED.search(str(error)):
            raise BackboneError(
                f"weights file {path} holds more than tensors ({refused[1]}), and reading that "
                f"runs code; if you trust the file, this makes one of tensors: {_conversion(path)}"
            ) from error
        raise BackboneError(
            f"weights file {path} cannot be read: it is damaged ({type(error).__name__})"
        ) from error
    while isinstance(loaded, dict):
        inner = [loaded[key] for key in _WRAPPINGS if isinstance(loaded.get(key), dict)]
        if not inner:
            break
        loaded = inner[0]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise BackboneError(f"weights file {path} holds no state dict: names and tensors")
    return {str(name): loaded[name] for name in loaded}


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # As for the readers of weights, which tell what is wrong.
        return False


def _conversion(path: Path, load: str = "torch.load({!r}, 'cpu', weights_only=False)") -> str:
    """A command line that runs the code in a file, and writes its tensors into another."""
    keys = " or ".join(f"c.get({key!r})" for key in _WRAPPINGS)
    into = path.with_name(f"{path.name.partition('.')[0]}-tensors.pth")
    program = (
        f"import torch; c = {load.format(str(path))}; "
        f"c = isinstance(c, dict) and ({keys}) or c; "
        f"torch.save(c if isinstance(c, dict) else c.state_dict(), {str(into)!r})"
    )
    return shlex.join(["python", "-c", program])
