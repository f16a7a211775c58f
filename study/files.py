"""Files that are whole whenever they are looked at."""

from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader, or a kill, never meets half of it."""
    fresh = path.with_name(f".{path.name}.fresh")
    # Names of files and classes need not be UTF-8; to JSON the escapes mean what they stand for.
    fresh.write_text(text, errors="backslashreplace")
    fresh.replace(path)
