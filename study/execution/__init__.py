"""Runs trials. Imports all other packages."""
