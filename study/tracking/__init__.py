"""From the ledger to MLflow, by a process of its own. Imports config, cluster and records."""
