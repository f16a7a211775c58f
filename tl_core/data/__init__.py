"""Labelled images: where they come from, decoded once, split."""
