"""What to try, when to stop, what to confirm. Imports config, cluster and records."""
