"""What the system lacks is found before anything is decoded, and named with the way out."""

import errno
import os
import resource
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from study import doctor, run, sync
from study.cluster.local_ray import local_ray
from study.cluster.resources import Resources
from study.errors import refuse_windows
from study.preflight import memory, system
from study.preflight.setup import Setup
from study.preflight.system import (
    address_faults,
    check_limits,
    check_system,
    limit_faults,
    loopback_faults,
    ray_folder_faults,
)
from tests.support.studies.asking import ask, faults_of
from tests.support.studies.builders import make_settings
from tests.support.study_fixtures import Capture, Patch
from tl_core.cgroups import Cgroups
from tl_core.errors import Fault
from tl_core.models.backbones import Backbone, load_backbone

WAY_OUT = "name a short path on a disk of this machine, such as RAY_TMPDIR=/var/tmp"


def told(patch: Patch, folder: Path | None) -> list[str]:
    if folder:
        patch.setenv("RAY_TMPDIR", str(folder))
    return [*map(str, ray_folder_faults())]


@pytest.fixture
def short() -> Path:
    """A folder with a path that is short enough; that of pytest is not."""
    return Path("/tmp")


def test_the_folder_of_ray(photo_folder: Path, monkeypatch: Patch, short: Path) -> None:
    assert told(monkeypatch, None) == []
    assert told(monkeypatch, short) == []
    assert told(monkeypatch, Path("/none")) == [
        f"RAY_TMPDIR /none: no such folder, by its full path; {WAY_OUT}"
    ]
    assert faults_of(photo_folder) == tuple(told(monkeypatch, Path("/none")))
    # Nothing is asked of it where there is no Ray.
    assert ask(photo_folder, debug=True, mode=["scratch"], lr=["0.1"]).settings.debug


UP = "; ip link set lo up, by root, starts it"


@pytest.mark.parametrize(("error", "why"), [
    (OSError(errno.ENETUNREACH, "as said"), f"Network is unreachable{UP}"),  # It is down.
    (OSError(errno.EADDRNOTAVAIL, "as said"), f"Cannot assign requested address{UP}"),
    (TimeoutError("timed out"), f"timed out{UP}"),
    (OSError(errno.EMFILE, "as said"), "Too many open files"),
])  # fmt: skip
def test_without_a_loopback_address(
    photo_folder: Path, monkeypatch: Patch, error: OSError, why: str
) -> None:
    assert [*loopback_faults()] == []

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("socket.create_connection", fail)
    told = f"Ray needs the loopback address 127.0.0.1: {why}"
    (fault,) = faults_of(photo_folder, mode=["freeze", "finetune"])
    assert fault == told
    assert ask(photo_folder, debug=True, mode=["scratch"], lr=["0.1"]).settings.debug
    # A study of frozen networks may need no worker.
    found = Setup(make_settings(mode=("freeze", "probe")))
    assert [*check_system(found)] == []
    assert found.notes == (f"if workers make features or sweeps: {told}",)


def test_a_path_that_leaves_no_room_for_a_socket(tmp_path: Path, monkeypatch: Patch) -> None:
    long = tmp_path / ("x" * 30)
    long.mkdir()
    (fault,) = told(monkeypatch, long)
    size = len(os.fsencode(long))
    assert fault == (
        f"RAY_TMPDIR {long}: its path has {size} bytes, and a socket's leaves 28; {WAY_OUT}"
    )


@pytest.mark.parametrize(("named", "base"), [("", "/tmp"), (None, "/tmp"), ("/var", "/var")])
def test_ray_gets_the_folder_that_was_checked(
    monkeypatch: Patch, named: str | None, base: str
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    if named is not None:
        monkeypatch.setenv("RAY_TMPDIR", named)
    asked: list[Path] = []

    def check(_: str, folder: Path) -> list[Fault]:
        asked.append(folder)
        return []

    def make(**given: Any) -> None:
        raise InterruptedError(given["dir"])

    monkeypatch.setattr("study.preflight.system.folder_faults", check)
    monkeypatch.setattr("tempfile.mkdtemp", make)
    assert [*ray_folder_faults()] == []
    with pytest.raises(InterruptedError, match=f"^{base}$"), local_ray(0):
        pass
    assert asked == [Path(base)]


def test_a_folder_of_ray_that_is_full_or_read_only(monkeypatch: Patch, short: Path) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5 * 10**6))
    assert told(monkeypatch, None) == [
        "set RAY_TMPDIR, as /tmp: 5.0 MB are free, Ray takes 100.0 MB; make room, or " + WAY_OUT
    ]
    (fault,) = told(monkeypatch, Path("/proc/self"))
    assert fault.startswith("RAY_TMPDIR /proc/self: /proc/self can't be written: ")
    assert fault.endswith("; " + WAY_OUT)


class Limits:
    """Stands for those of the system."""

    def __init__(self, patch: Patch, soft: int, hard: int, which: int) -> None:
        self.found, self.which = (soft, hard), which
        free = (resource.RLIM_INFINITY,) * 2
        patch.setattr("resource.getrlimit", lambda n: self.found if n == which else free)
        patch.setattr("resource.setrlimit", self._set)
        patch.setattr(system, "_own_tasks", lambda: 100)
        patch.setattr("os.getuid", lambda: 1000)
        patch.setattr(system, "OWN", Cgroups(Path("none"), Path("none")))

    def _set(self, limit: int, both: tuple[int, int]) -> None:
        assert limit == self.which
        self.found = both


def test_a_soft_limit_is_raised(monkeypatch: Patch) -> None:
    limits = Limits(monkeypatch, 100, 4096, resource.RLIMIT_NOFILE)
    assert [*limit_faults(4)] == []
    assert limits.found == (256 + 16 * 4, 4096)
    assert [*limit_faults(2)] == []
    assert limits.found == (320, 4096), "it is never lowered"


def test_too_few_files(monkeypatch: Patch) -> None:
    Limits(monkeypatch, 100, 300, resource.RLIMIT_NOFILE)
    assert [*map(str, limit_faults(4))] == [
        "ulimit -n: 300 open files are allowed, 320 are needed; ulimit -Hn 320 or "
        "docker run --ulimit nofile=320"
    ]


def test_too_few_addresses(photo_folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(system, "usable_cpus", lambda: 4)
    monkeypatch.setattr(system, "find_spec", lambda _: True)
    limits = Limits(monkeypatch, 10**9, 42 * 10**8, resource.RLIMIT_AS)
    assert [*address_faults()] == []
    assert limits.found == (42 * 10**8, 42 * 10**8), "4 GB and 4 times 50 MB; all of it is raised"
    monkeypatch.setattr(memory, "free_memory", lambda: 10**10)
    assert [*map(str, address_faults(ray=True))] == [
        "ulimit -v: 4.2 GB of address space are allowed, at least 6.9 GB are needed; "
        "ulimit -v unlimited, which takes no memory by itself"
    ]
    limits.found = (10**9, 69 * 10**8)
    assert [*address_faults(ray=True)] == []
    limits.found = (10**9, 10**9)
    (fault,) = faults_of(photo_folder, mode=["scratch"], debug=True, lr=["0.1"])
    assert fault.startswith("ulimit -v: 1.0 GB of address space are allowed, at least 4.2 GB are ")
    limits.found = (17 * 10**8, 17 * 10**8)
    monkeypatch.setattr(system, "find_spec", lambda _: None)  # A torch without CUDA.
    assert [*address_faults()] == []


@pytest.mark.parametrize(("shm", "most"), [(64e6, 10e9), (100e9, 95e9), (1e12, 200e9)])
def test_the_store_of_ray_has_a_bound(shm: float, most: float, monkeypatch: Patch) -> None:
    monkeypatch.setattr(system, "usable_cpus", lambda: 4)
    monkeypatch.setattr(system, "find_spec", lambda _: True)
    monkeypatch.setattr(memory, "free_memory", lambda: 10**12)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=int(shm)))
    enough = int(most + 42e8)
    limits = Limits(monkeypatch, enough, enough, resource.RLIMIT_AS)
    assert [*address_faults(ray=True)] == []
    limits.found = (enough - 1, enough - 1)
    assert len([*address_faults(ray=True)]) == 1


def test_too_few_processes(monkeypatch: Patch) -> None:
    Limits(monkeypatch, 200, 400, resource.RLIMIT_NPROC)
    assert [*map(str, limit_faults(4))] == [
        "ulimit -u: 400 processes and threads are allowed, 470 are needed with those that you run; "
        "fewer workers (--jobs) need fewer; ulimit -Hu 470 allows them"
    ]
    monkeypatch.setattr("os.getuid", lambda: 0)
    assert [*limit_faults(4)] == []


def test_a_container_with_too_few_processes(tmp_path: Path, monkeypatch: Patch) -> None:
    Limits(monkeypatch, 200, 10_000, resource.RLIMIT_NPROC)
    (tmp_path / "own").write_text("0::/\n")
    (tmp_path / "pids.max").write_text("300\n")
    (tmp_path / "pids.current").write_text("10\n")
    monkeypatch.setattr(system, "OWN", Cgroups(tmp_path, tmp_path / "own"))
    assert [*map(str, limit_faults(2))] == [
        "--jobs 2 workers: 290 more processes and threads may start here, 310 are needed; "
        "fewer workers (--jobs) need fewer; docker run --pids-limit allows them"
    ]
    assert [*limit_faults(1)] == []


def limits_of(
    processes: int, patch: Patch, network: Backbone | None = None, **given: Any
) -> tuple[list[str], list[str]]:
    """Faults and notes of a study on 64 cores, where so many processes are allowed."""
    Limits(patch, processes, processes, resource.RLIMIT_NPROC)
    cores = Resources(64, 0, 64, False, {"cpu": "fp32"})
    settings = make_settings(data="photos", train_ratio=(0.3,), **given)
    setup = Setup(settings, resources=cores, network=network)
    return [*map(str, check_limits(setup))], [*setup.notes]


def test_the_workers_that_a_study_starts_are_counted(monkeypatch: Patch) -> None:
    # Four trials: three networks at once, and one after them. 100 + 250 + 3 * 30 = 440.
    few: dict[str, Any] = {"mode": ("scratch",), "trials": 4, "confirm": False}
    assert limits_of(440, monkeypatch, **few) == ([], [])
    (fault,), notes = limits_of(439, monkeypatch, **few)
    assert fault.startswith("ulimit -u: 439 processes and threads are allowed, 440 are needed with")
    assert notes == []
    # A hundred: a quarter of them, 100 + 250 + 25 * 30 = 1100; --jobs asks fewer.
    many: dict[str, Any] = {"mode": ("scratch",), "trials": 100}
    assert limits_of(1100, monkeypatch, confirm=False, **many)[0] == []
    assert len(limits_of(1099, monkeypatch, confirm=False, **many)[0]) == 1
    assert limits_of(440, monkeypatch, jobs=3, **many)[0] == []
    # At most 35 trials confirm: 100 + 250 + 35 * 30 = 1400.
    assert limits_of(1400, monkeypatch, **many)[0] == []
    assert len(limits_of(1399, monkeypatch, **many)[0]) == 1


def test_workers_that_may_not_be_needed_are_a_note(monkeypatch: Patch) -> None:
    # 64 that make features: 100 + 250 + 64 * 30 = 2270.
    whole = "ulimit -u: 2269 processes and threads are allowed, 2270 are needed"
    whole = f"if workers make features or sweeps: {whole} with those that you run; "
    frozen: dict[str, Any] = {"mode": ("freeze",), "trials": 4}
    assert limits_of(2270, monkeypatch, **frozen) == ([], [])
    way_out = "ulimit -Hu 2270 allows them"
    assert limits_of(2269, monkeypatch, **frozen) == ([], [whole + way_out])
    both: dict[str, Any] = {"mode": ("freeze", "finetune"), "trials": 4}
    fewer = "fewer workers (--jobs) need fewer; "
    assert limits_of(2269, monkeypatch, **both) == ([], [whole + fewer + way_out])


def test_workers_that_the_memory_does_not_hold_are_not_counted(monkeypatch: Patch) -> None:
    # Two make features: 100 + 250 + 2 * 30 = 410.
    monkeypatch.setattr(memory, "free_memory", lambda: int(2.9e9))
    monkeypatch.setattr(memory, "taken", lambda: 0)
    network = load_backbone("shared_mlp", "none", 32)
    frozen: dict[str, Any] = {"mode": ("freeze",), "trials": 4}
    assert limits_of(410, monkeypatch, network, **frozen)[1] == []
    assert "409 processes and threads are allowed, 410 are needed" in str(
        limits_of(409, monkeypatch, network, **frozen)
    )


@pytest.mark.parametrize("command", [run, doctor, sync])
def test_windows_is_refused_at_once(
    command: ModuleType, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    refuse_windows()
    monkeypatch.setattr("sys.platform", "win32")
    assert command.main(["mine"] if command is sync else []) == 2
    _, fault = capsys.readouterr().err.splitlines()
    assert fault.startswith("  Windows is not supported; WSL 2 runs it: ")
