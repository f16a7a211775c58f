"""The environment variables of MLflow's own client that are defaults of settings."""

import os

VARIABLES = {"tracking_uri": "MLFLOW_TRACKING_URI", "experiment": "MLFLOW_EXPERIMENT_NAME"}
"""By setting, the variable that replaces its default."""


def from_environment() -> dict[str, str]:
    """Return the settings whose variables are set; MLflow takes an empty one for none, too."""
    values = {name: os.environ.get(variable) for name, variable in VARIABLES.items()}
    return {name: value for name, value in values.items() if value}
