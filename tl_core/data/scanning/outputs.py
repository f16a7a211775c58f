"""Folders that programs write, such as studies, caches and MLflow's stores: they hold no data.

They are recognised by what they hold, so that they may lie anywhere and have any name.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tl_core.text import printable

# Files and folders that operating systems add; names with a leading dot are hidden as well.
_SIDECARS = frozenset(
    ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information")
)
CACHE_TAG = "CACHEDIR.TAG"
"""The file that marks a folder as a cache (https://bford.info/cachedir/)."""
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
_HIDDEN = "hidden or of a system"
_RUN = re.compile(r"(m-)?[0-9a-f]{32}")
"""How MLflow names the folders of runs and models."""
_MOST = 4
"""Folders of one kind that a note names."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden or added by a system."""
    return name.startswith(".") or name.lower() in _SIDECARS


def output_kind(folder: Path, names: Sequence[str]) -> str | None:
    """Return what wrote a folder; None if it may hold the user's own files.

    Args:
        folder: its path; the name counts as well.
        names: what it holds.
    """
    if is_hidden(folder.name):
        return _HIDDEN
    held = frozenset(names)
    return next((kind for kind, holds in _KINDS.items() if holds(folder, held)), None)


def _is_study(folder: Path, held: frozenset[str]) -> bool:
    return {"study.json", "ledger.jsonl"} <= held or {"model.json", "model.safetensors"} <= held


def _is_mlflow(folder: Path, held: frozenset[str]) -> bool:
    if "MLmodel" in held or ("artifacts" in held and _RUN.fullmatch(folder.name)):
        return True
    # Of a user's own, too, files may be called meta.yaml.
    return "meta.yaml" in held and b"artifact_" in _start_of(folder / "meta.yaml")


def _is_cache(folder: Path, held: frozenset[str]) -> bool:
    if CACHE_TAG in held and _start_of(folder / CACHE_TAG).startswith(CACHE_SIGNATURE):
        return True
    return "SHA256SUMS" in held and any(name.endswith(".npy") for name in held)


def _is_environment(folder: Path, held: frozenset[str]) -> bool:
    return bool(held & {"pyvenv.cfg", "conda-meta"})


def _is_log(folder: Path, held: frozenset[str]) -> bool:
    if any(name.startswith(("events.out.tfevents.", "experiment_state-")) for name in held):
        return True
    return any(name.endswith(".wandb") for name in held)


_KINDS: dict[str, Callable[[Path, frozenset[str]], object]] = {
    "studies and models of tl-study": _is_study,
    "MLflow": _is_mlflow,
    "caches": _is_cache,
    "Python environments": _is_environment,
    "Python's bytecode": lambda folder, _: folder.name == "__pycache__",
    "Node packages": lambda folder, _: folder.name == "node_modules",
    "logs of training": _is_log,
}
"""What wrote a folder, and how to tell."""


def _start_of(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(4096)
    except OSError:
        return b""


@dataclass
class PassedOver:
    """Folders that were not entered."""

    folders: dict[str, list[Path]] = field(default_factory=dict)
    """By kind."""

    def add(self, kind: str, folder: Path) -> None:
        """Note a folder of this kind."""
        self.folders.setdefault(kind, []).append(folder)

    def as_one(self, folder: Path) -> "PassedOver":
        """The same kinds, but of the folder that held all of them."""
        return PassedOver({kind: [folder] for kind in self.folders})

    def merge(self, other: "PassedOver") -> None:
        """Add those of another part."""
        for kind, folders in other.folders.items():
            self.folders.setdefault(kind, []).extend(folders)

    @property
    def outputs(self) -> bool:
        """Whether one of them was written by a program, and is not just hidden."""
        return bool(self.folders.keys() - {_HIDDEN})

    def notes(self, root: Path) -> Iterator[str]:
        """Yield one line on all of them, with paths below `root`; nothing if there are none."""
        if self.folders:
            parts = (f"{_names(found, root)} ({kind})" for kind, found in self.folders.items())
            yield f"passed over: {'; '.join(parts)}"


def _names(folders: Sequence[Path], root: Path) -> str:
    names = [printable(folder.relative_to(root).as_posix()) for folder in folders[:_MOST]]
    more = f" and {len(folders) - _MOST:,} more" if len(folders) > _MOST else ""
    return ", ".join(names) + more
