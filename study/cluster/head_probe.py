"""Asks a cluster's head whether it lets this user in: a program, run by `ask`.

Ray itself asks for up to 40 seconds, and writes lines of its own to the terminal meanwhile. A
process of its own keeps those lines, and has no part of Ray in it when the study's Ray comes up.
"""

import os
import subprocess
import sys
from importlib import import_module
from typing import Any

from ray.exceptions import AuthenticationError, RpcError

_raylet: Any = import_module("ray._raylet")  # Compiled, and without types.
NO_HEAD = (
    "what answers there is no Ray head, or a busy one; its address is what ray start printed, "
    "HOST:6379 as a rule"
)
_PATIENCE = {"RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_py_gcs_connect_timeout_s": "4"}
"""Seconds that Ray waits: for each of two connections, and then for an answer."""
_LONGEST_S = 30.0
_TOKEN = (
    "have here, in ~/.ray/auth_token or in RAY_AUTH_TOKEN, what the head has in its "
    "~/.ray/auth_token"
)


def ask(head: str) -> str | None:
    """Return why the head at HOST:PORT can't be joined, within seconds, or None if it can be."""
    # By its path: the study's packages need not be installed, and none is imported.
    command = [sys.executable, "-P", __file__, head]
    try:
        done = subprocess.run(
            command,
            env=_PATIENCE | os.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        return NO_HEAD
    if done.returncode:
        [*_, line] = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return f"Ray ends while it asks the head: {line}"
    return done.stdout.strip() or None


def _fault(head: str) -> str | None:
    sends = _raylet.get_authentication_mode() == _raylet.AuthenticationMode.TOKEN
    try:
        token = _raylet.AuthenticationTokenLoader.instance()
        if sends and not token.has_token(ignore_auth_mode=True):  # Ray would end this process.
            return f"RAY_AUTH_MODE=token, and there is no token: {_TOKEN}"
        _raylet.GcsClient(address=head)
    except AuthenticationError as error:
        return _refused(error, sends)
    except RpcError:
        return NO_HEAD
    return None


def _refused(error: AuthenticationError, sends: bool) -> str:
    if "RPC error" not in error.message:  # It has not come to asking.
        return f"{error.message}: {_TOKEN}"
    if sends:
        return f"RAY_AUTH_MODE=token, and the token is not the head's: {_TOKEN}"
    return f"the head wants a token: set RAY_AUTH_MODE=token, and {_TOKEN}"


if __name__ == "__main__":
    print(_fault(sys.argv[1]) or "")
