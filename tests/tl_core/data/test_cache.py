import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.core.entries import Entry, left_in, refuse, writes
from tests.support.disks import on_small_disk, read_only
from tl_core.data import cache
from tl_core.data.cache import MANIFEST, damage, new_array, publish, unverified

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of `abc`, from FIPS 180-2."""
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of no bytes."""
Spoil = Callable[[Path], object]


@contextmanager
def pieces_of(size: int) -> Iterator[None]:
    """Hash in pieces of so many bytes, two at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_PIECE", size)
        patch.setattr(cache, "_READ", 2)
        yield


def test_the_manifest_has_the_hash_of_each_file(entry: Path) -> None:
    assert (entry / MANIFEST).read_text() == f"{ABC} 0 a\n{NOTHING} 0 b\n"


def test_a_large_file_is_hashed_in_pieces(tmp_path: Path) -> None:
    with pieces_of(4):
        publish(tmp_path / "x", writes({"a": b"12345678abc"}))
        lines = (tmp_path / "x" / MANIFEST).read_text().splitlines()
        assert [line.split(" ", 1)[1] for line in lines] == ["0 a", "4 a", "8 a"]
        assert lines[2].startswith(ABC)
        assert damage(tmp_path / "x") is None


def test_a_whole_entry_is_used(entry: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish(entry, refuse)
    assert caplog.messages == []


def write(name: str, content: bytes) -> Spoil:
    return lambda entry: (entry / name).write_bytes(content)


def remove(name: str) -> Spoil:
    return lambda entry: (entry / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (write("a", b"abd"), "a changed"),
        (write("a", b"ab"), "a changed"),
        (write("a", b""), "a changed"),
        (write("b", b"x"), "b changed"),
        (write("c", b""), "c changed"),
        (remove("a"), "a file is missing or truncated"),
        (remove(MANIFEST), f"it has no {MANIFEST}"),
        (write(MANIFEST, b""), "a and b changed"),
        (write(MANIFEST, f"{ABC} 0 a\n".encode()), "b changed"),
        (write(MANIFEST, f"{ABC} 0 a\n{NOTHING} 0 b\n\xff".encode("latin1")), "a file is missing"),
    ],
)
def test_a_damaged_entry_is_built_anew_with_a_warning(
    entry: Path, caplog: pytest.LogCaptureFixture, spoil: Spoil, why: str
) -> None:
    spoil(entry)
    publish(entry, writes({"a": b"abc", "b": b""}))
    (message,) = caplog.messages
    assert message.startswith(f"warning: cache entry {entry} is built again: {why}")
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == {
        "a": b"abc",
        "b": b"",
        MANIFEST: f"{ABC} 0 a\n{NOTHING} 0 b\n".encode(),
    }
    assert left_in(entry.parent) == {"abc"}


def test_hidden_files_of_others_do_no_harm(entry: Path) -> None:
    (entry / ".DS_Store").write_bytes(b"?")
    assert damage(entry) is None


entries = st.dictionaries(st.sampled_from(["a", "b", "c.npy"]), st.binary(max_size=20), min_size=1)


@settings(max_examples=15)  # Each waits for the disk.
@given(files=entries, data=st.data())
def test_any_change_of_any_byte_is_found(files: Entry, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pieces_of(4):
        entry = Path(folder) / "entry"
        publish(entry, writes(files))
        path = entry / data.draw(st.sampled_from([*files, MANIFEST]))
        content = bytearray(path.read_bytes())
        if content and data.draw(st.booleans()):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        else:
            content += data.draw(st.binary(min_size=1, max_size=5))
        assert damage(entry) is None
        path.write_bytes(content)
        assert damage(entry) is not None


@settings(max_examples=15)  # Each waits for the disk.
@given(files=entries, data=st.data())
def test_any_cut_is_found(files: Entry, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pieces_of(4):
        entry = Path(folder) / "entry"
        publish(entry, writes(files))
        path = entry / data.draw(st.sampled_from([*(n for n in files if files[n]), MANIFEST]))
        os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))
        assert damage(entry) is not None


def test_a_worker_takes_what_is_there(entry: Path, caplog: pytest.LogCaptureFixture) -> None:
    (entry / "a").write_bytes(b"")
    publish(entry, refuse, unverified)
    assert caplog.messages == []


def test_who_has_the_damaged_files_mapped_keeps_them(tmp_path: Path) -> None:
    entry = tmp_path / "entry"

    def build(into: Path) -> None:
        new_array(into / "x.npy", np.float32, (3,))[:] = 1
        (into / "b").touch()

    publish(entry, build)
    held = np.load(entry / "x.npy", mmap_mode="r")
    (entry / "b").unlink()
    publish(entry, build)
    assert held.tolist() == [1, 1, 1]
    assert damage(entry) is None


def fill_the_disk(folder: Path) -> None:
    """Build an entry of 2 MB; a disk that is full must not kill the process."""
    try:
        publish(
            folder / "x", lambda into: new_array(into / "x.npy", np.uint8, (2 * 10**6,)).fill(1)
        )
    except OSError as error:
        print(error.errno, error.filename, sorted(left_in(folder)))


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    code = f"from {__name__} import *; fill_the_disk(Path({str(tmp_path)!r}))"
    done = on_small_disk(tmp_path, "1m", "-c", code)
    assert done.stdout == f"28 {tmp_path}/.x.fresh/x.npy []\n", done.stderr
    assert on_small_disk(tmp_path, "5m", "-c", code).stdout == ""


def test_a_whole_entry_on_a_read_only_disk_is_used(entry: Path) -> None:
    code = f"from {__name__} import *; publish(Path({str(entry)!r}), refuse)"
    done = read_only(entry.parent, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    (entry / "a").write_bytes(b"")
    done = read_only(entry.parent, "-c", code)
    assert "Read-only file system" in done.stderr
