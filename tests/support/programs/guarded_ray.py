"""A Ray as studies start it, and strangers at its door; a test runs it as a program.

Prints as JSON what the strangers got, by what they came with, what `head_fault` says to them, and
how the token was kept. Its argument is a folder that is everybody's home.
"""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.cluster.ray_environment import set_ray_environment

set_ray_environment()

import ray  # noqa: E402

from study.cluster.join import head_fault  # noqa: E402
from study.cluster.local_ray import local_ray  # noqa: E402

ENTER = """
import sys, ray
ray.init(sys.argv[1], log_to_driver=False)
print(ray.get(ray.remote(lambda: "inside").remote()))
"""


def main(home: str) -> None:
    """Start it, have the strangers try, end it, start it again."""
    with local_ray(0, 1):
        path = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        head, strangers = ray.get_runtime_context().gcs_address, environments(path, home)
        seen: dict[str, Any] = {
            "modes": [oct(stat.S_IMODE(p.stat().st_mode)) for p in (path.parent, path)],
            "token": path.read_text(),
            "on command lines": is_on_command_lines(path.read_text()),
            "strangers": enter(head, strangers),
        }
        faults = {}
        for who, environment in strangers.items():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "environ", environment)
                faults[who] = head_fault(head)
    seen["faults"] = faults
    seen["left"] = path.parent.exists() or "RAY_AUTH_TOKEN_PATH" in os.environ
    with local_ray(0, 1):
        seen["again"] = ray.get(ray.remote(lambda: "inside").remote())
    print(json.dumps(seen))


def environments(path: Path, home: str) -> dict[str, dict[str, str]]:
    """Environments of four strangers, by what they come with."""
    mode = {"RAY_AUTH_MODE": "token"}
    came_with = {
        "nothing": {"RAY_AUTH_MODE": "disabled"},
        "no token": mode,
        "another token": mode | {"RAY_AUTH_TOKEN": "0" * 64},
        "the token": mode | {"RAY_AUTH_TOKEN_PATH": str(path)},
    }
    own = {n: v for n, v in os.environ.items() if not n.startswith("RAY_AUTH")} | {"HOME": home}
    return {who: own | given for who, given in came_with.items()}


def enter(head: str, strangers: dict[str, dict[str, str]]) -> dict[str, str]:
    """What each got who joined without asking first."""
    command = [sys.executable, "-c", ENTER, head]
    tries = {
        who: subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for who, env in strangers.items()
    }
    ends = {who: process.communicate() for who, process in tries.items()}
    return {who: out.strip() or err.splitlines()[-1] for who, (out, err) in ends.items()}


def is_on_command_lines(token: str) -> bool:
    """Whether everybody on the machine can read it."""
    lines = [line.read_bytes() for line in Path("/proc").glob("[0-9]*/cmdline") if line.exists()]
    return any(token.encode() in line for line in lines)


if __name__ == "__main__":
    main(sys.argv[1])
