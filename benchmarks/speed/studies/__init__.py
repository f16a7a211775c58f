"""The study that rows measure, and the naive one beside it."""
