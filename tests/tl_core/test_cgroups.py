"""Limits of memory and processes, as versions 1 and 2 of the kernel's interface show them."""

from pathlib import Path

import pytest

from tl_core.cgroups import Cgroups

CASES = {
    "none": ("0::/\n", {"memory.max": "max", "memory.current": "5"}, None, None),
    "version 2": (
        "0::/job\n",
        {
            "job/memory.max": "1000", "job/memory.high": "900", "job/memory.current": "500",
            "job/memory.stat": "anon 300\ninactive_file 100", "memory.max": "2000",
            "memory.current": "1800", "memory.stat": "inactive_file 0",
        },
        900, 200,
    ),
    "version 1": (
        "4:memory:/slurm/job\n0::/\n",
        {
            "memory/slurm/job/memory.limit_in_bytes": "1000",
            "memory/slurm/job/memory.usage_in_bytes": "700",
            "memory/slurm/job/memory.stat": "inactive_file 1\ntotal_inactive_file 30\n"
            "total_active_file 20",
            "memory/memory.limit_in_bytes": "9223372036854771712",
        },
        1000, 350,
    ),
    "more is used than allowed": ("0::/\n", {"memory.max": "10", "memory.current": "50"}, 10, 0),
}  # fmt: skip


def groups(folder: Path, own: str, files: dict[str, str]) -> Cgroups:
    (folder / "own").write_text(own)
    for name, content in files.items():
        file = folder / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    return Cgroups(folder / "groups", folder / "own")


@pytest.mark.parametrize("name", CASES)
def test_memory(tmp_path: Path, name: str) -> None:
    own, files, limit, left = CASES[name]
    found = groups(tmp_path, own, files)
    assert (found.memory_limit(), found.memory_left()) == (limit, left)


@pytest.mark.parametrize(("own", "files", "killed"), [
    ("0::/\n", {"memory.events": "oom 3\noom_kill 2"}, 2),
    ("4:memory:/\n", {"memory/memory.oom_control": "oom_kill_disable 0\noom_kill 1"}, 1),
    ("0::/\n", {"cpu.max": "max 1"}, 0),
    ("", {}, 0),
])  # fmt: skip
def test_kills_are_counted(tmp_path: Path, own: str, files: dict[str, str], killed: int) -> None:
    assert groups(tmp_path, own, files).killed() == killed


def test_processes(tmp_path: Path) -> None:
    files = {"pids.max": "max", "job/pids.max": "100", "job/pids.current": "60"}
    assert groups(tmp_path, "0::/job\n", files).processes_left() == 40
    assert Cgroups(tmp_path / "none", tmp_path / "none").processes_left() is None
