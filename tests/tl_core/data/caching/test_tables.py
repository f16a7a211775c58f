"""Tables that are kept while they grow."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.core.entries import left_in, writes
from tl_core.data.caching import tables
from tl_core.data.caching.entries import MANIFEST, publish
from tl_core.data.caching.tables import bytes_kept, growing_table, new_array, rows_kept

SHAPE = 10, 2


def grow(entry: Path, until: int = 10, columns: int = 2) -> list[int]:
    """Fill a table up to a row, where an error stops the work; return the rows that were written.

    Row i is [i, i, ...].
    """
    written = list[int]()

    def build(into: Path) -> None:
        with growing_table(into, "table.npy", np.float16, (10, columns)) as table:
            while table.done < until:
                written.append(table.done)
                table.rows[table.done] = table.done
                table.grow(table.done + 1)
            if until < 10:
                raise RuntimeError("stopped")

    if until < 10:
        with pytest.raises(RuntimeError, match="stopped"):
            publish(entry, build)
    else:
        publish(entry, build)
    return written


def is_whole(entry: Path, columns: int = 2) -> bool:
    rows = np.load(entry / "table.npy")
    return left_in(entry) == {"table.npy", MANIFEST} and bool(
        (rows == np.arange(10)[:, None].repeat(columns, 1)).all()
    )


def test_work_goes_on_where_an_error_stopped_it(tmp_path: Path) -> None:
    entry = tmp_path / "abc"
    assert grow(entry, until=4) == [0, 1, 2, 3]
    assert (rows_kept(entry), entry.exists()) == (4, False)
    assert bytes_kept(entry) > 40
    assert grow(entry, until=7) == [4, 5, 6]
    assert grow(entry) == [7, 8, 9]
    assert is_whole(entry)
    assert left_in(tmp_path) == {"abc"}
    assert (rows_kept(entry), bytes_kept(entry)) == (0, 0)


def test_work_that_was_stopped_before_its_first_row_leaves_nothing(tmp_path: Path) -> None:
    assert grow(tmp_path / "abc", until=0) == []
    assert left_in(tmp_path) == set()


def test_a_killed_process_loses_what_it_has_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; import numpy as np\n"
        "from tl_core.data.caching import entries, tables\n"
        "def build(into):\n"
        "    with tables.growing_table(into, 'table.npy', np.float16, (10, 2)) as table:\n"
        "        for i in range(5):\n"
        "            tables.SAVE_S = 0 if i == 2 else 30\n"
        "            table.rows[i] = i\n"
        "            table.grow(i + 1)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "entries.publish(Path(sys.argv[1]), build)\n"
    )
    entry = tmp_path / "abc"
    done = subprocess.run([sys.executable, "-c", code, str(entry)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert left_in(tmp_path) == {".abc.fresh", ".abc.unfinished"}
    publish(tmp_path / "other", writes({"a": b""}))
    assert left_in(tmp_path) == {".abc.unfinished", "other"}
    assert grow(entry) == [3, 4, 5, 6, 7, 8, 9]
    assert is_whole(entry)


def killed_at(entry: Path, step: str) -> None:
    """Fill the table in a process that is killed when it has come to a step of `publish`."""
    code = (
        "import hashlib, os, pathlib, signal, sys; import numpy as np\n"
        "from tl_core.data.caching import entries, tables\n"
        "def build(into):\n"
        "    with tables.growing_table(into, 'table.npy', np.float16, (10, 2)) as table:\n"
        "        table.rows[:] = np.arange(10)[:, None]\n"
        "        table.grow(10)\n"
        "owner, name = eval(sys.argv[2]), sys.argv[3]\n"
        "setattr(owner, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))\n"
        "entries.publish(pathlib.Path(sys.argv[1]), build)\n"
    )
    words = [sys.executable, "-c", code, str(entry), *step.rsplit(".", 1)]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("hashlib.sha256", {".abc.fresh", ".abc.unfinished"}),
        ("pathlib.Path.rename", {".abc.fresh", ".abc.unfinished"}),
        ("entries.remove_table", {"abc", ".abc.unfinished"}),
    ],
    ids=["hashed", "on the disk", "there"],
)
def test_a_whole_table_is_kept_until_its_entry_is_there(
    tmp_path: Path, step: str, left: set[str]
) -> None:
    entry = tmp_path / "abc"
    killed_at(entry, step)
    assert (rows_kept(entry), left_in(tmp_path)) == (10, left)
    assert grow(entry) == [], "no row is made again"
    assert is_whole(entry)
    if "abc" not in left:
        assert left_in(tmp_path) == {"abc"}
        assert (entry / "table.npy").stat().st_nlink == 1


def test_a_table_that_an_entry_shares_is_not_used_for_another(tmp_path: Path) -> None:
    """Its rows may be what is damaged, and who has mapped them keeps them."""
    entry = tmp_path / "abc"
    killed_at(entry, "entries.remove_table")
    mapped = np.load(entry / "table.npy", mmap_mode="r+")
    mapped[3] = 0
    assert grow(entry) == [*range(10)]
    assert is_whole(entry)
    assert left_in(tmp_path) == {"abc"}
    assert mapped[3].tolist() == [0, 0]


@pytest.mark.parametrize("at", range(4))
def test_a_table_that_is_cut_is_as_one_that_was_made_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Also if the work is stopped at any of its steps: as it saves the table, or cuts the file."""
    entry, steps, sync = tmp_path / "abc", list[int](), os.fsync

    def stop(file: int) -> None:
        steps.append(file)
        if len(steps) == at:
            raise KeyboardInterrupt
        sync(file)

    def build(into: Path) -> None:
        with growing_table(into, "table.npy", np.float16, SHAPE) as table:
            for row in range(table.done, 10):
                made.append(row)
                table.rows[row] = row
            table.grow(10)
            monkeypatch.setattr(os, "fsync", stop)
            try:
                table.cut(6)
            finally:
                monkeypatch.setattr(os, "fsync", sync)

    made = list[int]()
    if at:
        with pytest.raises(KeyboardInterrupt):
            publish(entry, build)
    publish(entry, build)
    assert made == [*range(10)]
    rows = np.arange(6, dtype=np.float16)[:, None].repeat(2, 1)
    np.save(tmp_path / "short.npy", rows)
    assert (entry / "table.npy").read_bytes() == (tmp_path / "short.npy").read_bytes()


def test_a_disk_without_second_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert grow(tmp_path / "abc") == [*range(10)]
    assert is_whole(tmp_path / "abc")
    assert left_in(tmp_path) == {"abc"}


@pytest.mark.parametrize(
    "damage",
    [
        "state",
        "no state",
        "list",
        "no number",
        "table",
        "empty",
        "header",
        "no table",
        "shape",
        "narrow",
    ],
)
def test_what_does_not_fit_is_made_anew(tmp_path: Path, damage: str) -> None:
    entry, columns = tmp_path / "abc", 2
    grow(entry, until=4)
    kept = tmp_path / ".abc.unfinished"
    match damage:
        case "state":
            (kept / "progress.json").write_text('{"done": 4, "no')
        case "list":
            (kept / "progress.json").write_text("[]")
        case "no number":
            (kept / "progress.json").write_text("{}")
        case "empty":
            (kept / "table.npy").write_bytes(b"")
        case "header":
            os.truncate(kept / "table.npy", 70)
        case "no state":
            (kept / "progress.json").unlink()
        case "table":
            os.truncate(kept / "table.npy", 140)
        case "no table":
            (kept / "table.npy").unlink()
        case "shape":
            columns = 3
        case "narrow":
            np.save(kept / "table.npy", np.zeros(SHAPE, np.int8))
    assert grow(entry, columns=columns) == [*range(10)]
    assert is_whole(entry, columns)


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOMEM, "no memory"), OSError(errno.EIO, "an error")]
)
def test_a_fault_of_the_machine_leaves_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    entry = tmp_path / "abc"
    grow(entry, until=4)
    with monkeypatch.context() as patch:
        patch.setattr(np, "load", fail)
        with pytest.raises(type(error)):
            grow(entry)
    assert grow(entry) == [4, 5, 6, 7, 8, 9]


def test_a_table_that_was_widened_is_used(tmp_path: Path) -> None:
    entry = tmp_path / "abc"
    grow(entry, until=4)
    file = tmp_path / ".abc.unfinished" / "table.npy"
    np.save(file, np.load(file).astype(np.float32))
    assert grow(entry) == [4, 5, 6, 7, 8, 9]
    assert np.load(entry / "table.npy").dtype == np.float32


def test_a_full_disk_keeps_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path / "abc", until=4)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "replace_file", full)
        grow(tmp_path / "abc", until=7)
    assert grow(tmp_path / "abc") == [4, 5, 6, 7, 8, 9]


def test_what_nobody_goes_on_with_is_removed_after_a_month(tmp_path: Path) -> None:
    for days in (29, 31):
        grow(tmp_path / f"{days}", until=4)
        kept = tmp_path / f".{days}.unfinished"
        then = kept.stat().st_mtime - days * 86_400
        os.utime(kept, (then, then))
    publish(tmp_path / "other", writes({"a": b""}))
    assert left_in(tmp_path) == {".29.unfinished", "other"}


def test_a_file_that_has_no_space_does_not_count_as_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a table has to be widened on a disk that is full."""

    def build(into: Path) -> None:
        with growing_table(into, "table.npy", np.float16, SHAPE) as table:
            table.done = 4
            monkeypatch.setattr(os, "posix_fallocate", full)
            new_array(table.file.with_name("wide.npy"), np.float32, (10**6,))

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    entry = tmp_path / "abc"
    with pytest.raises(OSError, match=r"No space left on device: '.*wide\.npy'$"):
        publish(entry, build)
    assert rows_kept(entry) == 4
    assert bytes_kept(entry) < 1000


@pytest.mark.parametrize("nested", [False, True])
def test_an_old_table_is_there_for_who_goes_on_with_it(tmp_path: Path, nested: bool) -> None:
    """Also within another entry's building: mirrored features need the plain ones."""
    grow(tmp_path / "abc", until=4)
    os.utime(tmp_path / ".abc.unfinished", (0, 0))
    more = list[int]()
    if nested:
        publish(tmp_path / "other", lambda _: more.extend(grow(tmp_path / "abc")))
    else:
        more = grow(tmp_path / "abc")
    assert more == [4, 5, 6, 7, 8, 9]
