"""Machines, GPUs and Ray, and where bytes live on them. Imports config."""
