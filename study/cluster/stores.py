"""Where workers leave what is too large to tell: checkpoints of trials, and the winner.

In the study's folder, if they run on its disk; `study.cluster.driver_store` brings it there from
other nodes; in a bucket, if one is named.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from pyarrow import fs

from study.config.settings import Settings
from study.config.uris import reason, without_credentials
from tl_core.errors import Fault, InputError
from tl_core.files import replace_folder
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.training.checkpoints import LocalFile

Files = Mapping[str, bytes]
"""Content by the name of the file, which may lie in a folder of its own: `mistakes/01.jpg`."""


class Storage(Protocol):
    """Files and folders by name; as text, what messages call it."""

    def read(self, name: str) -> bytes:
        """Return a file's content; raises `FileNotFoundError` if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Replace a file whole; on return it is safe. Raises `OSError` if that can't be."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def replace(self, name: str, files: Files) -> None:
        """Replace a folder by one with these files."""


@dataclass(frozen=True)
class Folder:
    """A folder on this machine."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        return LocalFile(self.root / name).read()

    def write(self, name: str, content: bytes) -> None:
        """Replace a file whole, also for a loss of power."""
        LocalFile(self.root / name).write(content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.root / name).unlink(missing_ok=True)

    def replace(self, name: str, files: Files) -> None:
        """Put a new folder in the place of what is there."""
        self.root.mkdir(parents=True, exist_ok=True)
        replace_folder(self.root / name, lambda into: fill(into, files))


@dataclass(frozen=True)
class Bucket:
    """A place that pyarrow's file systems know: `s3://BUCKET/PATH`, `gs://...`, `file:///...`.

    Who runs there needs what the cloud asks for, such as a role, or AWS_ACCESS_KEY_ID.
    """

    uri: str
    study: str
    """The folder in it."""

    def __str__(self) -> str:
        return f"{without_credentials(self.uri).rstrip('/')}/{self.study}"

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        files, root = self._open()
        with files.open_input_stream(f"{root}/{name}") as file:
            return bytes(file.read())

    def write(self, name: str, content: bytes) -> None:
        """Replace a file; a bucket shows it whole or not at all."""
        files, root = self._open()
        path = f"{root}/{name}"
        files.create_dir(path.rpartition("/")[0])
        with files.open_output_stream(path) as file:
            file.write(content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        files, root = self._open()
        if files.get_file_info(f"{root}/{name}").type != fs.FileType.NotFound:
            files.delete_file(f"{root}/{name}")

    def replace(self, name: str, files: Files) -> None:
        """Write these files, a model's weights first and its card last, and remove all others.

        A kill in between leaves what was there, or weights that are not those of the card beside
        them, which `load_model` refuses, or no card; never a model that is mixed without a word.
        """
        others = set(self._names(name, there=False)) - files.keys()
        order = sorted(files, key=_turn)
        for file in order[:-1]:
            self.write(f"{name}/{file}", files[file])
        for file in others:
            self.remove(f"{name}/{file}")
        for file in order[-1:]:
            self.write(f"{name}/{file}", files[file])

    def folder(self, name: str) -> Files:
        """Return all files of a folder; raises `FileNotFoundError` if it is not there."""
        return {each: self.read(f"{name}/{each}".lstrip("/")) for each in self._names(name)}

    def is_empty(self) -> bool:
        """Whether there is no file in it; folders, of which a bucket keeps some, don't count."""
        return not self._names("", there=False)

    def discard(self) -> None:
        """Remove all that is there."""
        files, root = self._open()
        files.delete_dir(root)

    def _names(self, name: str, there: bool = True) -> list[str]:
        """The files of a folder, at any depth; of one that need not be `there`, none."""
        files, root = self._open()
        path = f"{root}/{name}".rstrip("/")
        found = files.get_file_info(fs.FileSelector(path, not there, recursive=True))
        return [info.path.removeprefix(f"{path}/") for info in found if info.is_file]

    def _open(self) -> tuple[fs.FileSystem, str]:
        files, root = fs.FileSystem.from_uri(self.uri)
        return files, f"{root.rstrip('/')}/{self.study}"


@dataclass(frozen=True)
class StoredFile:
    """A file of a storage, as a trial's checkpoint takes it."""

    storage: Storage
    name: str

    def __str__(self) -> str:
        return f"{self.storage}/{self.name}"

    def read(self) -> bytes:
        """Return its content."""
        return self.storage.read(self.name)

    def write(self, content: bytes) -> None:
        """Replace it whole."""
        self.storage.write(self.name, content)


def fill(folder: Path, files: Files) -> None:
    """Write files into a new folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def contents(folder: Path) -> Files:
    """Return what `fill` would write."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _turn(name: str) -> int:
    """When a file is written: what the card speaks of is there before it."""
    return {WEIGHTS: 0, CARD: 2}.get(name, 1)


def bucket_of(settings: Settings) -> Bucket | None:
    """Return the bucket that a study keeps its networks in, if it is to have one."""
    return Bucket(settings.storage, str(settings.name)) if settings.storage else None


def check_storage(settings: Settings, new: bool = False) -> None:
    """Write and remove a small file in the study's bucket; raise `InputError` if that fails.

    Of a `new` study, the folder there must be empty.
    """
    with _bucket_at_fault(settings) as bucket:
        # Not in the study's own folder, as others than a study may ask; and many at the same time.
        tried = Bucket(bucket.uri, f".tl-study-{secrets.token_hex(4)}")
        tried.write("can-write", b"yes")
        tried.discard()
    if new:
        check_unused(settings)


def check_unused(settings: Settings) -> None:
    """Raise `InputError` if the bucket has something in the study's folder, of another study."""
    with _bucket_at_fault(settings) as bucket:
        unused = bucket.is_empty()
    if not unused:
        why = f"{bucket} has another study's files; choose another name or remove them"
        raise InputError([Fault("--name", f"{settings.name}: {why}")])


@contextmanager
def _bucket_at_fault(settings: Settings) -> Iterator[Bucket]:
    """Yield the study's bucket; what it can't do is a fault of `--storage`."""
    bucket = bucket_of(settings)
    assert bucket
    try:
        yield bucket
    except (OSError, ValueError) as error:  # What pyarrow can't read as a URI is a value.
        why = f"{without_credentials(bucket.uri)}: {_told(error, bucket.uri)}"
        raise InputError([Fault("--storage", why)]) from error


def _told(error: Exception, uri: str) -> str:
    """What went wrong; pyarrow's words for a missing bucket name an option of its own."""
    if re.match("Bucket .* not found", str(error)):
        name = urlsplit(uri).netloc.rpartition("@")[2]
        return f"there is no bucket {name}; a study makes none, so make it first"
    return reason(error, uri)
