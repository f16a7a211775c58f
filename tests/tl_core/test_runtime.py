import getpass
import os
import site
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import cache_dir

from tl_core.cgroups import Cgroups
from tl_core.data.decode import decoding_threads
from tl_core.errors import InputError
from tl_core.runtime import (
    describe_cpus,
    in_order,
    keep_freed_memory,
    module_process,
    name_user,
    one_thread,
    processes_of_user,
    project_path,
    usable_cpus,
    use_private_cache,
)


def test_processes_of_another_user_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(f"/proc/{os.getpid()}")
    assert here in [*processes_of_user()]
    monkeypatch.setattr("os.getuid", lambda: here.stat().st_uid + 1)
    assert here not in [*processes_of_user()]


def test_glibc_is_told_and_may_be_told_again() -> None:
    # In a process of its own, because the setting can't be taken back.
    code = "from tl_core.runtime import keep_freed_memory as keep; keep(); keep()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_and_libraries(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    opened: list[object] = []
    monkeypatch.setattr("ctypes.CDLL", lambda name: opened.append(name))
    keep_freed_memory()  # This library has no mallopt.
    assert len(opened) == 1
    monkeypatch.setattr(sys, "platform", platform)
    keep_freed_memory()
    assert len(opened) == 1


def test_while_a_program_starts_garbage_is_looked_for_rarely() -> None:
    # In a process of its own, because what is frozen stays so.
    code = (
        "import gc\n"
        "from tl_core.runtime import rarely_collecting\n"
        "before = gc.get_threshold()\n"
        "with rarely_collecting():\n"
        "    print(gc.get_threshold()[0], gc.get_freeze_count())\n"
        "print(gc.get_threshold() == before, gc.get_freeze_count() > 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["100000 0", "True True"]


def test_a_process_imports_nothing_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "here", tmp_path / "named"):
        folder.mkdir()
        (folder / "study.py").write_text("raise ImportError('a trap')")
    (tmp_path / "here" / "random.py").write_text("raise ImportError('a trap')")
    (tmp_path / "named" / "mine.py").write_text("import random, study.errors; print('found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "named"))
    command, environment = module_process("mine", "--word")
    assert command[1:] == ["-P", "-m", "mine", "--word"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path / "here", capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("found\n", "")


def test_an_empty_entry_of_pythonpath_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).parents[2])
    for given, expected in {"/x:": [root, "/x"], ":/x::/y": [root, "/x", "/y"], "": [root]}.items():
        monkeypatch.setenv("PYTHONPATH", given)
        assert module_process("mine")[1]["PYTHONPATH"].split(os.pathsep) == expected


@pytest.mark.parametrize("own", ["getsitepackages", "getusersitepackages"])
def test_a_folder_of_installed_packages_does_not_go_before_python_s_own(
    monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    root = str(Path(__file__).parents[2])
    monkeypatch.setattr(site, own, lambda: root if "user" in own else ["/x", root])
    monkeypatch.setenv("PYTHONPATH", "/x:")
    assert project_path() == []
    assert module_process("mine")[1]["PYTHONPATH"] == "/x"


def test_the_number_of_threads_is_restored() -> None:
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


QUOTAS = {
    "none": ("0::/\n", {}, 8),
    "version 2": ("0::/\n", {"cpu.max": "200000 100000"}, 2),
    "a part of a core": ("0::/\n", {"cpu.max": "50000 100000"}, 1),
    "rounded down": ("0::/\n", {"cpu.max": "390000 100000"}, 3),
    "more than there are": ("0::/\n", {"cpu.max": "6400000 100000"}, 8),
    "no limit": ("0::/\n", {"cpu.max": "max 100000"}, 8),
    "of a group above": (
        "0::/system.slice/a.service/job\n",
        {"system.slice/cpu.max": "300000 100000", "system.slice/a.service/cpu.max": "max 100000"},
        3,
    ),
    "the smallest": (
        "0::/a/b\n", {"a/cpu.max": "500000 100000", "a/b/cpu.max": "400000 100000"}, 4
    ),
    "the path of the host": ("0::/docker/abc\n", {"cpu.max": "200000 100000"}, 2),
    "version 1": (
        "4:memory:/x\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
        {"cpu/docker/abc/cpu.cfs_quota_us": "250000", "cpu/docker/abc/cpu.cfs_period_us": "50000"},
        5,
    ),
    "version 1 in a container": (
        "2:cpu:/docker/abc\n0::/\n",
        {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"},
        2,
    ),
    "version 1 without a limit": (
        "2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8
    ),
    "broken": ("0::/\n", {"cpu.max": "?"}, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", QUOTAS)
def test_a_quota_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    own, files, expected = QUOTAS[name]
    (tmp_path / "own").write_text(own)
    for file, content in files.items():
        (tmp_path / "groups" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / file).write_text(content + "\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "groups").mkdir(exist_ok=True)
    assert usable_cpus(Cgroups(tmp_path / "groups", tmp_path / "own")) == expected
    assert usable_cpus(Cgroups(tmp_path / "no groups", tmp_path / "none")) == 8


def test_a_user_id_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setenv("USER", "me")
    name_user()
    assert os.environ["USER"] == "me"
    monkeypatch.delenv("USER")
    name_user()
    assert (os.environ["USER"], getpass.getuser()) == ("uid-1234", "uid-1234")


def test_what_bounds_the_cores_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").write_text("0::/\n")
    groups = Cgroups(tmp_path, tmp_path / "own")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert describe_cpus(groups) == ""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert describe_cpus(groups) == "affinity 8 of 64 cores"
    (tmp_path / "cpu.max").write_text("250000 100000")
    assert describe_cpus(groups) == "affinity 8 of 64 cores, quota 2.5 cores"


def test_as_many_threads_decode_as_cores_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_core.data.decode.usable_cpus", lambda: 3)
    with decoding_threads() as pool:
        assert pool._max_workers == 3


@pytest.fixture(autouse=True)
def no_folder_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no folder, and is restored."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_the_compiler_uses_a_folder_of_this_user_alone(tmp_path: Path) -> None:
    own = tmp_path / "cache" / f"compiled-{os.getuid()}"
    use_private_cache(tmp_path / "cache")
    assert cache_dir() == str(own / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == str(own / "triton")
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    use_private_cache(tmp_path / "other")  # Once named, a folder stays.
    use_private_cache(tmp_path / "cache")
    assert cache_dir() == str(own / "inductor")
    assert own.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compiled-1234567").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 1234567)
    message = "keeps what it makes in --cache: .*/compiled-1234567 must be a folder of user 1234567"
    with pytest.raises(InputError, match=f"^--compile {message}, as its files are run; remove it$"):
        use_private_cache(tmp_path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"compiled-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="must be a folder of user"):
        use_private_cache(tmp_path)


def test_items_are_worked_on_in_order_and_some_are_begun_ahead() -> None:
    taken = list[int]()

    def items() -> Iterator[int]:
        for i in range(9):
            taken.append(i)
            yield i

    with ThreadPoolExecutor(2) as pool:
        squares = in_order(pool, lambda i: i * i, items(), ahead=3)
        assert (next(squares), taken) == (0, [0, 1, 2, 3])
        assert (next(squares), taken) == (1, [0, 1, 2, 3, 4])
        assert [*squares] == [4, 9, 16, 25, 36, 49, 64]
        assert [*in_order(pool, abs, [], ahead=3)] == []


def test_what_no_thread_has_begun_is_cancelled_at_an_error() -> None:
    begun, cancelled = list[int](), threading.Event()

    def work(i: int) -> int:
        begun.append(i)
        if i == 2:
            raise ValueError("number 2 is wrong")
        assert i < 2 or cancelled.wait(60)
        return i

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="number 2 is wrong"):
            [*in_order(pool, work, range(9), ahead=5)]
        cancelled.set()
    assert begun in ([0, 1, 2], [0, 1, 2, 3])
