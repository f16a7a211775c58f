"""Environment variables of Ray and its workers; Ray reads some of them while it is imported."""

import os
from pathlib import Path

_EVERYWHERE = {
    # The study writes and shows results itself, and finds everything by absolute path.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray runs each trial in a new thread, and glibc gives threads up to eight heaps a core. Each
    # heap keeps what a trial has freed: 2.5 GB for networks of 45 MB.
    "MALLOC_ARENA_MAX": "1",
    # A study resumes from its ledger. Nobody reads Ray's state, which holds all trials each time it
    # is written, so it is written at the start and at the end alone.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # The study has handlers of its own for Ctrl-C.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A trial that is stopped early waits for its checkpoint, which takes minutes in a slow store.
    # Its worker's next trial fails, and the search never hears of it, if this is shorter.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    # The result of a trial that failed has no metric.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
_OWN_RAY = {
    # Nobody else on the machine can use this Ray; `study.cluster.local_ray` makes the token.
    "RAY_AUTH_MODE": "token",
    # With this Ray listens on 127.0.0.1 alone, on every system, whatever the name says. Otherwise
    # it listens on the address that other machines know, or on all addresses.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray's pages of metrics, which nobody reads here, ask for no token.
    "RAY_enable_metrics_collection": "0",
    # Otherwise Ray starts a worker for each core at once, however few jobs there are.
    "RAY_prestart_worker_first_driver": "0",
    # Under `uv run` Ray would copy the working folder to workers, which have the same Python here.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
RAY_TMPDIR = "RAY_TMPDIR"
"""Names the folder for Ray's files; /tmp if it is not set, or empty."""
LOGICAL = "TL_STUDY_LOGICAL_GPUS"
"""If set, GPUs are numbers in Ray's books alone: to try a cluster on machines without GPUs."""
_CLUSTER = {
    # Otherwise Ray waits up to seven minutes on a connection that a network failure has cut.
    "RAY_grpc_client_keepalive_time_ms": "15000",
    "RAY_grpc_client_keepalive_timeout_ms": "15000",
}
_OF_WORKERS = (
    "RAY_CHDIR_TO_TRIAL_DIR",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S",
    "MALLOC_ARENA_MAX",
    LOGICAL,
    *_CLUSTER,
)
"""Variables that workers of a running cluster get from the driver."""


def ray_base() -> Path:
    """Where the folders of studies' Rays are.

    It is not Python's own choice: on some systems that is too long for sockets' paths.
    """
    return Path(os.environ.get(RAY_TMPDIR) or "/tmp")


def set_ray_environment(own: bool = True) -> None:
    """Set Ray up for a study; call it before the first `import ray`.

    `own` means a Ray of this machine alone, not a cluster's. Variables of the user stay.
    """
    defaults = _EVERYWHERE | (_OWN_RAY if own else _CLUSTER)
    os.environ.update({name: os.environ.get(name, value) for name, value in defaults.items()})


def worker_environment() -> dict[str, str]:
    """Variables that workers on other machines do not inherit."""
    return {name: os.environ[name] for name in _OF_WORKERS if name in os.environ}
