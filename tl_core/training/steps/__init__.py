"""A training step as one graph: recorded once on a GPU, then repeated by one call."""
