import errno
import os
import stat
from pathlib import Path

import pytest

from tests.support.disks import files_of_at_most
from tl_core.files import is_disk_full, leftovers, naming, replace_file, replace_folder, user_path


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
