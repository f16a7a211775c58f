"""Machines that are folders: what a cluster file has Ray do there is done, without network or pip.

Ray's own launcher runs. Its `ssh` and `rsync` reach the folder that is named like the address;
`python3` makes a venv there, whose `pip`, `ray` and `mlflow` write down how they were called.
"""

import os
import time
from pathlib import Path

import pytest

PROGRAMS = {
    "laptop/bin/ssh": """
        while true; do case $1 in -tt) shift;; -i|-o) shift 2;; *) break;; esac; done
        export HOME="$PAPER_MACHINES/${1#*@}"; shift
        [ -d "$HOME" ] || cp -r "$PAPER_MACHINES/new" "$HOME"
        cd "$HOME" && exec setsid -w sh -c "$*"
        """,
    "laptop/bin/rsync": """
        while [ $# -gt 2 ]; do shift; done
        host=${2%%:*}; path=${2#*:}; target=$PAPER_MACHINES/${host#*@}/${path#"~/"}
        case $1 in */) cp -rp "$1." "$target";; *) cp -p "$1" "$target";; esac
        """,
    "new/bin/uptime": "true",
    "new/bin/python3": """
        case "$*" in
        "-m ensurepip --version") ;;
        "-m venv .venv") mkdir -p .venv/bin
            for name in pip ray mlflow; do cp ~/bin/called .venv/bin/$name; done;;
        *) exit 1;;
        esac
        """,
    "new/bin/called": """
        name=${0##*/} mode=${RAY_AUTH_MODE-none} threads=${OMP_NUM_THREADS-all} files=$(ulimit -n)
        echo "$name $* [in ${PWD##*/}, mode $mode, threads $threads, files $files]" >> ~/calls
        [ $name != mlflow ] || while [ -e ~/mlflow-stays-up ]; do sleep 0.05; done
        """,
}
PATIENCE_S = 20.0


class PaperMachines:
    """Machines by their address, and the laptop: this process, with a home and a token."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        for name, program in PROGRAMS.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{program}")
            path.chmod(0o755)
        # A login shell has a path of its own.
        (self.home("new") / ".bashrc").write_text("export PATH=$HOME/bin:$PATH\n")
        laptop = self.home("laptop")
        self._setenv = monkeypatch.setenv
        for secret in (laptop / ".ray/auth_token", laptop / ".ssh/key"):
            secret.parent.mkdir(parents=True)
            secret.write_text("secret")
        self.move_to("laptop")
        monkeypatch.setenv("PATH", f"{laptop}/bin", prepend=os.pathsep)
        monkeypatch.setenv("PAPER_MACHINES", str(folder))
        monkeypatch.setenv("RAY_TMPDIR", str(folder))  # Ray keeps the state of machines there.

    def move_to(self, address: str) -> None:
        """Have this process find its files there."""
        self._setenv("HOME", str(self.home(address)))

    def home(self, address: str) -> Path:
        """The home of the cluster's user there; `new` is what machines begin with."""
        return self._folder / address

    def calls(self, address: str, count: int) -> list[str]:
        """How programs were called there, once there are so many: some start in the background."""
        file = self.home(address) / "calls"
        deadline = time.monotonic() + PATIENCE_S
        while len(found := file.read_text().splitlines()) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return found
