"""What Ray reads from the environment, some of it while it is imported."""

import os
import secrets


def set_ray_environment() -> None:
    """Set Ray up for a study on this machine; call it before the first `import ray`.

    What the user has set stays as it is.
    """
    defaults = {
        # The study writes and shows results itself, and finds everything by absolute path.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # The study has handlers of its own for Ctrl-C.
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        # The result that tells of a failure has no metric.
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    }
    if "RAY_AUTH_MODE" not in os.environ:
        # A token of this run alone: nobody else on the machine can reach its Ray.
        defaults |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ.update({name: os.environ.get(name, value) for name, value in defaults.items()})
