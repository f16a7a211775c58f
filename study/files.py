"""Files that are whole whenever they are looked at."""

from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader, or a kill, never meets half of it."""
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.write_text(text)
    fresh.replace(path)
