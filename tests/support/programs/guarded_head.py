"""A head that wants a token, asked by those who have it and who have not; a test runs it.

Prints as JSON what each was told. Takes a folder that is the home of all of them.
"""

import json
import os
import sys
from unittest import mock

from study.cluster.ray_environment import set_ray_environment

set_ray_environment()

import ray  # noqa: E402

from study.cluster.join import head_fault  # noqa: E402
from study.cluster.local_ray import local_ray  # noqa: E402


def main(home: str) -> None:
    """Start the head, and ask."""
    told = {}
    with local_ray(0, 1):
        head, path = ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN_PATH"]
        mode = {"RAY_AUTH_MODE": "token"}
        come_with = {
            "nothing": {"RAY_AUTH_MODE": "disabled"},
            "no token": mode,
            "another token": mode | {"RAY_AUTH_TOKEN": "0" * 64},
            "the token": mode | {"RAY_AUTH_TOKEN_PATH": path},
        }
        own = {n: v for n, v in os.environ.items() if not n.startswith("RAY_AUTH")}
        for who, given in come_with.items():
            with mock.patch.dict(os.environ, own | given | {"HOME": home}, clear=True):
                told[who] = head_fault(head)
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
