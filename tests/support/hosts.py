"""Several hosts on one machine: network namespaces on a bridge, each with folders of its own.

They share the disk but for the folders that a test makes private, the processors and the table of
processes. All but the first lack this project's code: it must come over the network.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PORT = 6379
_CODE = (ROOT / "study", ROOT / "tl_core")
_RAY = str(Path(sys.executable).with_name("ray"))
_START_S = 60.0


def needs_hosts() -> None:
    """Skip the test unless this machine lets it make network namespaces."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("ip")):
        pytest.skip("hosts in network namespaces need root and iproute2")
    name = f"tl{secrets.token_hex(4)}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        pytest.skip("this machine allows no network namespaces")
    subprocess.run(["ip", "netns", "del", name], check=True)


@dataclass
class Host:
    """A namespace and what runs in it."""

    name: str
    address: str
    home: Path
    """Ray's folder on this host, at the same path on each; outside, its own is `disk`."""
    disk: Path
    environment: Mapping[str, str]
    started: list["subprocess.Popen[str]"] = field(default_factory=list)
    holder: "subprocess.Popen[bytes] | None" = None
    """Sleeps in the namespace, with the mounts that all others there are to see."""

    def start(self, *words: object, **environment: object) -> "subprocess.Popen[str]":
        """Start a program on this host, in a session of its own."""
        assert self.holder
        inside = ["nsenter", "-t", str(self.holder.pid), "-m", "-n", f"--wd={Path.cwd()}", "--"]
        # Not what the tests' own process has set for a Ray of one machine.
        own = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "TUNE_"))}
        given = {name: str(value) for name, value in environment.items()}
        process = subprocess.Popen(
            [*inside, *(str(word) for word in words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=own | dict(self.environment) | given,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def ray(
        self, head: "Host | None" = None, gpus: int = 1, cpus: int = 2, **environment: object
    ) -> None:
        """Start a Ray node: the head itself, or one that joins it."""
        joins = ["--head", f"--port={PORT}", "--include-dashboard=false"] if head is None else [
            f"--address={head.address}:{PORT}"
        ]  # fmt: skip
        temporary = [f"--temp-dir={self.home}"] if head is None else []
        process = self.start(
            _RAY, "start", *joins, f"--node-ip-address={self.address}", *temporary,
            f"--num-gpus={gpus}", f"--num-cpus={cpus}", "--object-store-memory=150000000",
            "--disable-usage-stats", **environment,
        )  # fmt: skip
        printed, errors = process.communicate(timeout=_START_S)
        assert process.returncode == 0, printed + errors

    def processes(self) -> list[int]:
        """Ids of all processes of this host."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True
        )
        holder = self.holder.pid if self.holder else 0
        return [int(pid) for pid in found.stdout.split() if int(pid) != holder]

    def kill(self) -> None:
        """End all that runs here at once, as a machine does that loses its power."""
        for _ in range(3):  # What is being started may be missed at first.
            for process in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)

    def cut(self) -> None:
        """Take the network cable out."""
        _ip("link", "set", f"{self.name}o", "down")

    def mend(self) -> None:
        """Put it back in."""
        _ip("link", "set", f"{self.name}o", "up")


@contextmanager
def hosts(n: int, private: Sequence[Path] = ()) -> Iterator[list[Host]]:
    """Make hosts that reach each other and nothing else.

    Args:
        n: how many.
        private: folders, made if need be, of which each host but the first has one of its own at
            the same path, empty at first.
    """
    needs_hosts()
    home = Path(tempfile.mkdtemp(prefix="tl", dir="/tmp"))  # Ray's sockets have short paths.
    token = secrets.token_hex(3)
    bridge, net = f"tl{token}b", f"10.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}"
    (home / "token").write_text(secrets.token_hex(32))
    (home / "token").chmod(0o600)
    environment = {
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(home / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "COLUMNS": "200",
    }
    there: list[Host] = []
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("link", "set", bridge, "up")
        for i in range(n):
            name, address = f"tl{token}{i}", f"{net}.{i + 1}"
            host = Host(name, address, home / "ray", home / f"disk{i}", environment)
            there.append(host)
            _plug_in(host, bridge)
            _hold(host, private if i else (), hidden=_CODE if i else ())
        yield there
    finally:
        for host in there:
            _take_down(host)
        subprocess.run(["ip", "link", "del", bridge], capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


def _plug_in(host: Host, bridge: str) -> None:
    _ip("netns", "add", host.name)
    _ip("link", "add", f"{host.name}o", "type", "veth", "peer", "name", "eth0", "netns", host.name)
    _ip("link", "set", f"{host.name}o", "master", bridge, "up")
    _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
    _ip("-n", host.name, "link", "set", "eth0", "up")
    _ip("-n", host.name, "link", "set", "lo", "up")


def _hold(host: Host, private: Sequence[Path], hidden: Sequence[Path]) -> None:
    """Start the process that others join: with its folders over those of the machine."""
    mounts = []
    for i, path in enumerate([host.home, *private, *hidden]):
        own = host.disk / f"{i}-{path.name}"
        own.mkdir(parents=True)
        path.mkdir(parents=True, exist_ok=True)
        mounts.append(f"mount --bind {own} {path}")
    script = " && ".join([*mounts, "echo ready", "exec sleep infinity"])
    host.holder = subprocess.Popen(
        ["ip", "netns", "exec", host.name, "bash", "-c", script], stdout=subprocess.PIPE
    )
    assert host.holder.stdout
    assert host.holder.stdout.readline() == b"ready\n"


def _take_down(host: Host) -> None:
    host.kill()
    if host.holder:
        host.holder.kill()
        host.holder.communicate()
    for process in host.started:
        process.communicate()
    subprocess.run(["ip", "netns", "del", host.name], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
