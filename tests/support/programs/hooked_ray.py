"""A Ray whose user has a hook that gives workers a folder; a test runs it as a program.

Prints as JSON what a worker has for `sys.path`, without the hook and with it, and the script's own
folder. Its argument is the folder of the hook.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from study.cluster.ray_environment import set_ray_environment

set_ray_environment()

import ray  # noqa: E402

from study.cluster.local_ray import local_ray  # noqa: E402


def hook(environment: dict[str, Any] | None) -> dict[str, Any]:
    """Set what `uv run` and hooks of other people set."""
    return {**(environment or {}), "working_dir": os.environ["FOLDER_OF_HOOK"]}


def worker_path() -> list[str]:
    """What a worker has for `sys.path`."""
    with local_ray(0, 1):
        found: list[str] = ray.get(ray.remote(lambda: sys.path).remote())
    return found


def main(folder: str) -> None:
    """Start it twice."""
    seen = {"script": str(Path(__file__).parent), "plain": worker_path()}
    os.environ["FOLDER_OF_HOOK"] = folder
    os.environ["RAY_RUNTIME_ENV_HOOK"] = "tests.support.programs.hooked_ray.hook"
    print(json.dumps(seen | {"hooked": worker_path()}))


if __name__ == "__main__":
    main(sys.argv[1])
