"""One trial: what learns, on what, and how it is measured."""
