"""Limits that containers, systemd and cluster managers set on a group of processes (cgroup).

Versions 1 and 2 of the kernel's interface; a limit of a group above counts as well.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CACHED = ("active", "inactive")
_NO_LIMIT = 2**60
"""Bytes: version 1 writes about 2**63 where there is no limit."""


@dataclass(frozen=True)
class Cgroups:
    """The groups of this process, as the kernel shows them."""

    root: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")
    """Names the groups of this process."""

    def cpu_quota(self) -> float | None:
        """CPU time a second, in cores; None without a quota."""
        return min((q for folder in self._folders("cpu") for q in _quota_of(folder)), default=None)

    def memory_limit(self) -> int | None:
        """The lowest limit, bytes; None without one."""
        found = (limit for folder in self._folders("memory") for limit in _limit_of(folder))
        return min(found, default=None)

    def memory_left(self) -> int | None:
        """Bytes up to the nearest limit; None without a limit.

        Pages of files that are cached do not count: the kernel takes them back.
        """
        left = []
        for folder in self._folders("memory"):
            used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
            for limit in _limit_of(folder):
                files = (_field(folder / "memory.stat", f"{kind}_file") for kind in _CACHED)
                left.append(limit - (used or 0) + sum(files))
        return max(0, min(left)) if left else None

    def processes_left(self) -> int | None:
        """How many more processes and threads may start; None without a limit."""
        left = []
        for folder in self._folders("pids"):
            if (most := _number(folder / "pids.max")) is not None:
                left.append(most - (_number(folder / "pids.current") or 0))
        return max(0, min(left)) if left else None

    def killed(self) -> int:
        """How many processes the kernel has killed for want of memory, in this group."""
        folder = next(self._folders("memory"), None)
        if folder is None:
            return 0
        files = (folder / "memory.events", folder / "memory.oom_control")
        return max(_field(file, "oom_kill") for file in files)

    def _folders(self, controller: str) -> Iterator[Path]:
        """Yield the folders of this process's group and of those above it, the own one first."""
        with suppress(OSError):
            for line in self.own.read_text(encoding="utf-8").splitlines():
                number, controllers, path = line.split(":", 2)
                if number == "0":
                    top = self.root
                elif controller in controllers.split(","):
                    top = next(filter(Path.is_dir, self._tops(controller, controllers)), self.root)
                else:
                    continue
                group = top / path.strip("/")
                # In a container, the path may be that on its host.
                for folder in dict.fromkeys((group, *group.parents, top)):
                    if folder.is_relative_to(top) and folder.is_dir():
                        yield folder

    def _tops(self, *names: str) -> Iterator[Path]:
        return (self.root / name for name in names)


OWN = Cgroups()
"""Those of this process."""


def _quota_of(group: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):  # Version 2: `max 100000` without a quota.
        quota, period = map(int, (group / "cpu.max").read_text(encoding="utf-8").split())
        yield quota / period
    quota, period = (_number(group / f"cpu.cfs_{name}_us") or 0 for name in ("quota", "period"))
    if quota > 0 and period > 0:  # Version 1: -1 without a quota.
        yield quota / period


def _limit_of(group: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
        limit = _number(group / name)
        if limit is not None and limit < _NO_LIMIT:
            yield limit


def _number(*files: Path) -> int | None:
    """The number in the first of the files that has one; `max` is none."""
    for file in files:
        with suppress(OSError, ValueError):
            return int(file.read_text(encoding="utf-8"))
    return None


def _field(file: Path, name: str) -> int:
    """A number in a file of names and numbers; 0 if it is not there. `total_` is version 1's."""
    with suppress(OSError, ValueError):
        lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
        found = {words[0]: int(words[1]) for words in lines if len(words) == 2}
        return found.get(f"total_{name}", found.get(name, 0))
    return 0
