"""One part in a process of its own: writes each check to a file as a line of JSON."""

import argparse
import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.gpu.check import GpuBench
from benchmarks.gpu.plan import PARTS
from study.preflight.gpu_check import reason_last
from study.signals import interruptible
from tl_core.runtime import keep_freed_memory, use_private_cache


def main() -> None:
    """Run the part that is named; an exception ends the process, and the command tells it."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.worker")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("device", type=torch.device)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    keep_freed_memory()  # As `study/run.py` does.
    use_private_cache(args.scratch)  # Nothing that an earlier command has compiled makes it faster.
    module = import_module(f"benchmarks.gpu.parts.{PARTS[args.part].module}")
    part = getattr(module, args.part.replace("-", "_"))
    with reason_last(), interruptible(), args.out.open("w") as out:
        for check in part(GpuBench(args.device, args.tiny, args.scratch)):
            out.write(json.dumps(asdict(check)) + "\n")
            out.flush()  # What is found stays, should the next check end the process.


if __name__ == "__main__":
    main()
