"""From the ledger to MLflow, by a process of its own. Imports config, cluster and records."""

import os

# MLflow reports its use over the network, unless this is set before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
