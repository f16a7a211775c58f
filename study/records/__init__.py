"""What happened in a study. Imports config and cluster."""
