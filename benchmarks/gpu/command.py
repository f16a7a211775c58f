"""The command line of `python -m benchmarks gpu`."""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.common import environment
from benchmarks.gpu.check import Check
from benchmarks.gpu.plan import FIRST, PARTS, WHOLE_S, run_part
from study.signals import EXIT_CODE, interruptible
from tl_core.device import find_device, is_gpu
from tl_core.files import replace_file

_ABOUT = f"""\
Check on a GPU all that could not be proven without one, in {WHOLE_S // 60} minutes at most. Needs
no network and no data. One line a check: ok, missed (right, and slower than its target), failed
(wrong, or it broke) or skipped."""
_TINY_PATIENCE = 5
"""On a CPU parts may take so many times their limits: it is shared, and only tries them."""
_EXIT_CODES = "exit codes: 0 no check has failed, 1 one has, 2 bad input or no GPU, 130 interrupted"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    args = _parser().parse_args(argv)
    if args.list:
        for name, part in PARTS.items():
            print(f"{name:13}{part.limit_s:3} s  {part.about}{' (GPU)' if part.needs_gpu else ''}")
        return 0
    if not args.out.resolve().parent.is_dir():
        print(f"error: --out {args.out}: its folder does not exist", file=sys.stderr)
        return 2
    device = find_device()
    if args.device != "cpu" and not is_gpu(device):
        why = "no GPU here that networks run on; --device cpu tries the parts at tiny sizes"
        print(f"error: {why}", file=sys.stderr)
        return 2
    run = _Run(args, "cpu" if args.device == "cpu" else device.type)
    try:
        with interruptible(), tempfile.TemporaryDirectory(prefix="tl-gpu-") as scratch:
            return run.all_parts(Path(scratch))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_CODE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks gpu",
        description=_ABOUT,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    names = ", ".join(name for name in PARTS if name != FIRST)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {names}")
    parser.add_argument("--list", action="store_true", help="list the parts, with their limits")
    device = "cpu tries the parts at tiny sizes, and skips those that need a GPU"
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu", help=device)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="JSON file")
    return parser


class _Run:
    def __init__(self, args: argparse.Namespace, device: str) -> None:
        self._device, self._tiny, self._out = device, device == "cpu", args.out
        only = args.only or list(PARTS)
        self._names = [name for name in PARTS if name in only or name == FIRST]
        self._parts: dict[str, dict[str, Any]] = {}
        self._start = time.monotonic()
        self._about = {"environment": environment(), "device": device, "tiny": self._tiny}

    def all_parts(self, scratch: Path) -> int:
        """Run part after part, and say what each has found; return the exit code."""
        for name in self._names:
            start, checks = time.monotonic(), list[Check]()
            for check in self._checks(name, scratch):
                if self._tiny:
                    check = replace(check, target=None)  # It is for a GPU and full sizes.
                print(check.line(name), flush=True)
                checks.append(check)
            found = [{"verdict": c.verdict, **asdict(c)} for c in checks]
            spent = round(time.monotonic() - start, 2)
            self._parts[name] = {"seconds": spent, "checks": found}
            self._write()
            if name == FIRST and any(check.verdict == "failed" for check in checks):
                break  # No other part has images.
        verdicts = Counter(c["verdict"] for p in self._parts.values() for c in p["checks"])
        told = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common())
        print(f"{told}; {time.monotonic() - self._start:.0f} s, written to {self._out}")
        return int(verdicts["failed"] > 0)

    def _checks(self, name: str, scratch: Path) -> Sequence[Check]:
        part, patience = PARTS[name], _TINY_PATIENCE if self._tiny else 1
        left = patience * WHOLE_S - (time.monotonic() - self._start)
        if part.needs_gpu and self._tiny:
            return [Check(part.about, skipped="needs a GPU")]
        if left < 1:
            return [Check(part.about, fault=f"no time is left of {WHOLE_S} s")]
        limit_s = min(patience * part.limit_s, left)
        return list(run_part(name, self._device, self._tiny, scratch, limit_s))

    def _write(self) -> None:
        text = json.dumps(self._about | {"parts": self._parts}, indent=2, default=str)
        replace_file(self._out, text + "\n")
