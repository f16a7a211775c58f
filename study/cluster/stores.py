"""Where workers store checkpoints of trials and the winner.

In the study's folder if they run on its disk, else through `study.cluster.driver_store`; in a
bucket if one is named.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from pyarrow import fs

from study.config.settings import Settings
from study.config.uris import reason, without_credentials
from tl_core.errors import Fault, InputError
from tl_core.files import LocalFile, replace_folder
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.training.checkpoints import Content

Files = Mapping[str, bytes]
"""Content by the name of the file, which may have a folder: `mistakes/01.jpg`."""


class Storage(Protocol):
    """Files and folders by name; `str()` gives its name in messages."""

    def read(self, name: str) -> bytes:
        """Return a file's content; raises `FileNotFoundError` if there is none."""

    def write(self, name: str, content: Content) -> None:
        """Replace a file whole, durably; raises `OSError` if that fails."""

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

    def write(self, name: str, content: Content) -> None:
        """Replace a file whole; it survives a loss of power."""
        LocalFile(self.root / name).write(content)

    def written(self, name: str) -> int:
        """Return when a file was written, in nanoseconds; 0 if it is not there."""
        path = self.root / name
        return path.stat().st_mtime_ns if path.exists() else 0

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.root / name).unlink(missing_ok=True)

    def replace(self, name: str, files: Files) -> None:
        """Replace a folder by one with these files."""
        self.root.mkdir(parents=True, exist_ok=True)
        replace_folder(self.root / name, lambda into: fill(into, files))


@dataclass(frozen=True)
class Bucket:
    """A place that pyarrow's file systems know: `s3://BUCKET/PATH`, `gs://...`, `file:///...`.

    Each process needs the cloud's credentials, such as a role, or AWS_ACCESS_KEY_ID.
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

    def write(self, name: str, content: Content) -> None:
        """Replace a file; readers see it whole or not at all, also after a kill."""
        files, root = self._open()
        path = f"{root}/{name}"
        if isinstance(files, fs.LocalFileSystem):  # Its stream writes over what is there.
            LocalFile(Path(path)).write(content)
            return
        files.create_dir(path.rpartition("/")[0])
        with files.open_output_stream(path) as file:
            file.write(content)

    def written(self, name: str) -> int:
        """Return when a file was written, in nanoseconds; 0 if it is not there."""
        files, root = self._open()
        return files.get_file_info(f"{root}/{name}").mtime_ns or 0

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        files, root = self._open()
        if files.get_file_info(f"{root}/{name}").type != fs.FileType.NotFound:
            files.delete_file(f"{root}/{name}")

    def replace(self, name: str, files: Files) -> None:
        """Write these files, a model's weights first and its card last, and remove all others.

        After a kill in between, `load_model` finds the old model, or refuses what it finds: there
        is no card, or the weights are not those of the card. It never loads a mixture.
        """
        others = set(self._names(name, must_exist=False)) - files.keys()
        turns = {WEIGHTS: 0, CARD: 2}
        order = sorted(files, key=lambda file: turns.get(file, 1))
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
        """Whether there is no file in it; a bucket may keep empty folders."""
        return not self._names("", must_exist=False)

    def discard(self) -> None:
        """Remove everything."""
        files, root = self._open()
        files.delete_dir(root)

    def _names(self, name: str, must_exist: bool = True) -> list[str]:
        """The files of a folder, at any depth."""
        files, root = self._open()
        path = f"{root}/{name}".rstrip("/")
        found = files.get_file_info(fs.FileSelector(path, not must_exist, recursive=True))
        return [info.path.removeprefix(f"{path}/") for info in found if info.is_file]

    def _open(self) -> tuple[fs.FileSystem, str]:
        files, root = fs.FileSystem.from_uri(self.uri)
        return files, f"{root.rstrip('/')}/{self.study}"


@dataclass(frozen=True)
class StoredFile:
    """A file of a storage, as a trial's checkpoint uses it."""

    storage: Storage
    name: str

    def __str__(self) -> str:
        return f"{self.storage}/{self.name}"

    def read(self) -> bytes:
        """Return its content."""
        return self.storage.read(self.name)

    def write(self, content: Content) -> None:
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


def bucket_of(settings: Settings) -> Bucket | None:
    """Return the bucket of a study, None if it has none."""
    return Bucket(settings.storage, str(settings.name)) if settings.storage else None


def storage_of(settings: Settings, folder: Path) -> Folder | Bucket:
    """Return where the driver finds what workers of a study have stored."""
    return bucket_of(settings) or Folder(folder.resolve())


def check_storage(settings: Settings, new: bool = False) -> None:
    """Write and remove a small file in the study's bucket; raise `InputError` if that fails.

    Of a `new` study, the folder there must be empty.
    """
    bucket = bucket_of(settings)
    assert bucket
    # Not in the study's folder: the doctor checks, too, and many checks may run at once.
    tried = Bucket(bucket.uri, f".tl-study-{secrets.token_hex(4)}")
    try:
        tried.write("can-write", b"yes")
        tried.discard()
        is_filled = new and not bucket.is_empty()
    except (OSError, ValueError) as error:  # What pyarrow can't read as a URI is a value.
        why = f"{without_credentials(bucket.uri)}: {_bucket_error(error, bucket.uri)}"
        raise InputError([Fault("--storage", why)]) from error
    if is_filled:
        why = f"{bucket} has another study's files; choose another name or remove them"
        raise InputError([Fault("--name", f"{settings.name}: {why}")])


def _bucket_error(error: Exception, uri: str) -> str:
    """What went wrong; pyarrow's words for a missing bucket name an option of its own."""
    if re.match("Bucket .* not found", str(error)):
        name = urlsplit(uri).netloc.rpartition("@")[2]
        return f"there is no bucket {name}; a study makes none, so make it first"
    return reason(error, uri)
