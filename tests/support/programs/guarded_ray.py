"""A Ray as studies start it, and strangers at its door; a test runs it as a program.

Prints as JSON what the strangers got, by what they came with, and how the token was kept.
"""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

from study.cluster.ray_environment import set_ray_environment

set_ray_environment()

import ray  # noqa: E402

from study.cluster.local_ray import local_ray  # noqa: E402

ENTER = """
import sys, ray
ray.init(sys.argv[1], log_to_driver=False)
print(ray.get(ray.remote(lambda: "inside").remote()))
"""


def main() -> None:
    """Start it, have the strangers try, end it, start it again."""
    with local_ray(0, 1):
        path = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        told = {
            "modes": [oct(stat.S_IMODE(p.stat().st_mode)) for p in (path.parent, path)],
            "token": path.read_text(),
            "on command lines": _told_to_all(path.read_text()),
            "strangers": _strangers(path),
        }
    told["left"] = path.parent.exists() or "RAY_AUTH_TOKEN_PATH" in os.environ
    with local_ray(0, 1):
        told["again"] = ray.get(ray.remote(lambda: "inside").remote())
    print(json.dumps(told))


def _strangers(path: Path) -> dict[str, str]:
    mode = {"RAY_AUTH_MODE": "token"}
    came_with = {
        "nothing": {"RAY_AUTH_MODE": "disabled"},
        "no token": mode,
        "another token": mode | {"RAY_AUTH_TOKEN": "0" * 64},
        "the token": mode | {"RAY_AUTH_TOKEN_PATH": str(path)},
    }
    own = {n: v for n, v in os.environ.items() if not n.startswith("RAY_AUTH")}
    command = [sys.executable, "-c", ENTER, ray.get_runtime_context().gcs_address]
    tries = {
        name: subprocess.Popen(
            command, env=own | given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for name, given in came_with.items()
    }
    ends = {name: process.communicate() for name, process in tries.items()}
    return {name: out.strip() or err.splitlines()[-1] for name, (out, err) in ends.items()}


def _told_to_all(token: str) -> bool:
    lines = [line.read_bytes() for line in Path("/proc").glob("[0-9]*/cmdline") if line.exists()]
    return any(token.encode() in line for line in lines)


if __name__ == "__main__":
    main()
