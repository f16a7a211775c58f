"""The study: search, tracking and results around `tl_core`."""
