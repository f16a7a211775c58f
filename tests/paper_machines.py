"""Machines that are folders: what a cluster file has Ray do on them happens, without network or pip.

Ray's own launcher runs. Its `ssh` and `rsync` reach the folder that is named like the address; there,
`python3` makes a venv whose `pip`, `ray` and `mlflow` write down how they were called.
"""

import os
from pathlib import Path

import pytest

PROGRAMS = {
    "here/ssh": """
        while true; do case $1 in -tt) shift;; -i|-o) shift 2;; *) break;; esac; done
        export HOME="$PAPER_MACHINES/${1#*@}"; shift; mkdir -p "$HOME" && cd "$HOME"
        cp -r "$PAPER_MACHINES/there/." . && exec setsid -w sh -c "$*"
        """,
    "here/rsync": """
        while [ $# -gt 2 ]; do shift; done
        host=${2%%:*}; path=${2#*:}; target=$PAPER_MACHINES/${host#*@}/${path#"~/"}
        case $1 in */) cp -rp "$1." "$target";; *) cp -p "$1" "$target";; esac
        """,
    "there/bin/uptime": "true",
    "there/bin/python3": """
        case $*/$PWD in
        "-m ensurepip --version"*) exit 0;;
        "-m venv .venv"*/tl-study) mkdir -p .venv/bin
            for name in pip ray mlflow; do cp ~/bin/called .venv/bin/$name; done;;
        *) exit 1;;
        esac
        """,
    "there/bin/called": """
        mode=${RAY_AUTH_MODE-none} threads=${OMP_NUM_THREADS-all} files=$(ulimit -n)
        echo "${PWD#"$HOME"/} $ ${0##*/} $* [mode=$mode threads=$threads files=$files]" >> ~/calls
        """,
}


class PaperMachines:
    """Machines by their address, and the laptop: this process, with a home and a token."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        for name, program in PROGRAMS.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{program}")
            path.chmod(0o755)
        (folder / "there/.bashrc").write_text("export PATH=$HOME/bin:$PATH\n")
        monkeypatch.setenv("PAPER_MACHINES", str(folder))
        monkeypatch.setenv("PATH", f"{folder}/here", prepend=os.pathsep)
        monkeypatch.setenv("RAY_TMPDIR", str(folder))
        for secret in (self.home("laptop") / ".ray/auth_token", self.home("laptop") / ".ssh/key"):
            secret.parent.mkdir(parents=True)
            secret.write_text("secret")
        monkeypatch.setenv("HOME", str(self.home("laptop")))

    def home(self, address: str) -> Path:
        """The home of the cluster's user there."""
        return self._folder / address

    def calls(self, address: str) -> list[str]:
        """How programs were called there: folder, command line, and what they found set."""
        return (self.home(address) / "calls").read_text().splitlines()
