"""From records to verdicts: plain numpy, scipy and pandas. Imports config and records."""
