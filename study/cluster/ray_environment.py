"""What Ray and its workers read from the environment, some of it while it is imported."""

import os

_EVERYWHERE = {
    # The study writes and shows results itself, and finds everything by absolute path.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray runs each trial in a thread of its own, and glibc has up to eight heaps a core for
    # threads, each of which keeps what a trial has freed: 2.5 GB for networks of 45 MB.
    "MALLOC_ARENA_MAX": "1",
    # A study goes on from its ledger. Ray's state, which nobody reads, would hold every trial's
    # each time that it is written: it is written at the start and at the end alone.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # The study has handlers of its own for Ctrl-C.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The result that tells of a failure has no metric.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
_OWN_RAY = {
    # Nobody else on the machine can use this Ray; `study.cluster.local_ray` makes the token.
    "RAY_AUTH_MODE": "token",
    # Ray takes 127.0.0.1 for the address that other machines know this one by, and listens
    # there, or on all addresses. Not if there can be no other machines, which this says on
    # every system, whatever its name: then it keeps to 127.0.0.1.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Its pages of metrics, which nobody here reads, ask for no token.
    "RAY_enable_metrics_collection": "0",
}
LOGICAL = "TL_STUDY_LOGICAL_GPUS"
"""GPUs are numbers in Ray's books: for trying a cluster out on machines that have none."""
_CLUSTER = {
    # Else Ray waits for up to seven minutes on a connection that a broken network has swallowed.
    "RAY_grpc_client_keepalive_time_ms": "15000",
    "RAY_grpc_client_keepalive_timeout_ms": "15000",
}
_OF_WORKERS = ("RAY_CHDIR_TO_TRIAL_DIR", "MALLOC_ARENA_MAX", LOGICAL, *_CLUSTER)
"""What the processes of a running cluster are to have as the driver has it."""


def set_ray_environment(own: bool = True) -> None:
    """Set Ray up for a study; call it before the first `import ray`.

    `own` says that it is to be a Ray of this machine alone, and not a cluster's. What the user has
    set stays as it is.
    """
    defaults = _EVERYWHERE | (_OWN_RAY if own else _CLUSTER)
    os.environ.update({name: os.environ.get(name, value) for name, value in defaults.items()})


def worker_environment() -> dict[str, str]:
    """What workers on other machines do not inherit."""
    return {name: os.environ[name] for name in _OF_WORKERS if name in os.environ}
