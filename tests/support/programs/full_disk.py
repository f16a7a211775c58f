"""A study whose disk fills up while it runs, and its second run; a test runs it on a small disk.

Its only argument is the folder of the study; what follows is the command line of the first run.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from study import run
from study.records.ledger import read_events, read_records
from study.records.study_folder import LEDGER

LIMIT_S = 240


def main(folder: Path, words: list[str]) -> None:
    """Print what was seen as JSON."""
    first = start(words)
    wait_for_ends(folder, 3, first)
    filling = fill(folder.parent / "filling")
    printed, _ = first.communicate(timeout=LIMIT_S)
    seen = {"code": first.returncode, "printed": printed, "before": ended(folder)}
    filling.unlink()
    second = start(["--resume", folder.name, "--out", str(folder.parent)])
    printed, _ = second.communicate(timeout=LIMIT_S)
    seen |= {"second": second.returncode, "resumed": printed, "after": ended(folder)}
    print(json.dumps(seen))


def start(words: list[str]) -> "subprocess.Popen[str]":
    """Start `study/run.py`."""
    command = [sys.executable, run.__file__, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_ends(folder: Path, trials: int, process: "subprocess.Popen[str]") -> None:
    """Wait until so many trials have ended in a study that runs."""
    end = time.monotonic() + LIMIT_S
    while (
        not (folder / LEDGER).exists()
        or sum(event["event"] == "end" for event, _ in read_events(folder / LEDGER)) < trials
    ):
        if process.poll() is not None:
            raise RuntimeError(process.communicate()[0])
        if time.monotonic() > end:
            raise TimeoutError(f"fewer than {trials} trials have ended")
        time.sleep(0.02)


def fill(path: Path) -> Path:
    """Leave no byte on the disk."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


def ended(folder: Path) -> dict[int, float | None]:
    """The score of each trial that has ended."""
    done = [r for r in read_records(folder) if r.status in ("done", "pruned")]
    return {r.trial: r.value("val_log_loss") for r in done}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
