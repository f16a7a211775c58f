"""What is claimed about speed and memory, each claim a measured row: `python -m benchmarks`."""
