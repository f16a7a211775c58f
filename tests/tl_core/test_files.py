import errno
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock, SoftFileLock, Timeout

from tests.support.disks import files_of_at_most
from tl_core.data.caching.entries import publish
from tl_core.files import (
    _has_flock,
    file_lock,
    is_disk_full,
    leftovers,
    naming,
    replace_file,
    replace_folder,
    user_path,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("content", "written"),
    [("Käse\n", "Käse\n".encode()), ("caf\udce9", b"caf\\udce9"), (b"\x00\xff", b"\x00\xff")],
)
def test_a_file_is_replaced(tmp_path: Path, content: str | bytes, written: bytes) -> None:
    path, usual = tmp_path / "best.json", tmp_path / "usual"
    for _ in range(2):
        replace_file(path, content)
        assert path.read_bytes() == written
        usual.touch()
        assert path.stat().st_mode == usual.stat().st_mode
        path.write_text("before")
    assert names_in(tmp_path) == ["best.json", "usual"]


def test_a_full_disk_or_a_kill_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(file: int) -> None:
        raise KeyboardInterrupt("now")

    path = tmp_path / "model.safetensors"
    replace_file(path, b"before")
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large") as caught:
        replace_file(path, b"x" * 1001)
    assert caught.value.filename == str(path)
    assert is_disk_full(caught.value)
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt, match="now"):
        replace_file(path, "after")
    assert path.read_bytes() == b"before"
    assert names_in(tmp_path) == ["model.safetensors"]


def test_content_is_on_disk_before_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    replace = Path.replace

    def note_sync(file: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")

    def note_replace(path: Path, target: Path) -> Path:
        steps.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    replace_file(tmp_path / "a", "whole")
    assert steps == ["file", "name", "folder"]


def test_a_folder_is_replaced_and_what_a_kill_left(tmp_path: Path) -> None:
    folder = tmp_path / "entry"
    replace_folder(folder, lambda into: (into / "old").touch())
    for name in (".entry.fresh", ".entry.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    (tmp_path / ".git").mkdir()
    assert [at for _, at in leftovers(tmp_path)] == [folder, folder]
    with (folder / "old").open() as held:
        replace_folder(folder, lambda into: (into / "below").mkdir())
        assert held.read() == ""
    assert names_in(folder) == ["below"]
    assert names_in(tmp_path) == [".git", "entry"]
    assert list(leftovers(tmp_path)) == []


def test_an_error_without_a_name_is_given_one() -> None:
    for error, message in (
        (OSError(errno.ENOSPC, "full"), r"^\[Errno 28\] full: 'the/file'$"),
        (OSError(errno.ENOSPC, "full", "another"), r"^\[Errno 28\] full: 'another'$"),
        (OSError("only words"), "^only words$"),
    ):
        with pytest.raises(OSError, match=message), naming(Path("the/file")):
            raise error


def test_a_full_disk_is_distinguishable() -> None:
    full = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS]
    found = [n for n in (*full, errno.EACCES, errno.EIO, None) if is_disk_full(OSError(n, "why"))]
    assert found == full


def test_the_home_of_an_unknown_user_is_no_error() -> None:
    assert user_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a disk can is found out once a process."""
    monkeypatch.setattr("tl_core.files._noted", [])
    _has_flock.cache_clear()
    yield
    _has_flock.cache_clear()


def refuse(patch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, "no")

    patch.setattr("fcntl.flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(monkeypatch, number)
    first, second = (file_lock(tmp_path / "x.lock") for _ in range(2))
    assert isinstance(first, SoftFileLock)
    with first.acquire(timeout=0), pytest.raises(Timeout):
        second.acquire(timeout=0)
    second.acquire(timeout=0).lock.release()
    with caplog.at_level(logging.WARNING):
        for folder in (tmp_path, tmp_path / "another"):
            publish(folder / "entry", lambda into: (into / "file").touch())
            assert (folder / "entry" / "file").exists()
    text = f"note: the disk of {tmp_path} has no file locks; files stand for them"
    assert caplog.messages == [text], "once, and not for each folder"


def test_a_file_of_a_disk_that_had_locks_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.lock").touch()  # As `FileLock` leaves it.
    refuse(monkeypatch, errno.ENOLCK)
    with file_lock(tmp_path / "x.lock").acquire(timeout=0):
        assert (tmp_path / "x.lock.held").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["x.lock"]


def test_a_killed_process_of_this_machine_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, errno.ENOLCK)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with file_lock(tmp_path / "x.lock").acquire(timeout=0):
        of_mine = (tmp_path / "x.lock.held").read_text(encoding="utf-8")
    assert of_mine.startswith(f"{os.getpid()}\n")
    of_ended = of_mine.replace(f"{os.getpid()}\n", f"{ended.pid}\n", 1)
    (tmp_path / "x.lock.held").write_text(of_ended, encoding="utf-8")
    file_lock(tmp_path / "x.lock").acquire(timeout=0.5).lock.release()


def test_other_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(file_lock(tmp_path / "x.lock"), FileLock)
    refuse(monkeypatch, errno.EIO)
    _has_flock.cache_clear()
    assert isinstance(file_lock(tmp_path / "x.lock"), FileLock), "which says what is wrong"
