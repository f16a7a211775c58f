"""The article's findings, measured: `python -m benchmarks.findings --data FOLDER --out FILE`.

Every run is trained on several seeds and scored once on the test set. The file is written after
each trial, and trials in it are not run again: a stop loses only the trials that were running.
About half an hour on two cores; `python -m benchmarks.findings.page` makes the page of it.
"""

import sys
from collections.abc import Sequence

from benchmarks.findings.measure import exit_code, make_parser, measure
from benchmarks.findings.runs import Plan


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the file lacks; return the exit code."""
    parser = make_parser("benchmarks.findings", __doc__)
    parser.add_argument("--lr", type=float, default=3e-5, help="of the whole network")
    parser.add_argument("--seeds", type=int, default=3, help="of each run; frozen ones get 10")
    args = parser.parse_args(argv)
    trials = Plan(args.backbone, args.image_size, args.lr, args.seeds).trials()
    return exit_code(lambda: measure(trials, args.data, args.cache, args.out, args.processes))


if __name__ == "__main__":
    sys.exit(main())
