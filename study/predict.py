"""Use a saved model on pictures: `python study/predict.py MODEL IMAGE...`."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # Run as a script: other packages may be called `study`.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.config.command_line import Parser
from study.errors import fault_code
from study.records.study_folder import find_model
from study.signals import run_command

_ABOUT = """\
Predict the class of pictures with the winner of a study, and the auxiliary task (by default their
brightness) if the winner learned it."""
_EXAMPLES = """\
examples:
  python study/predict.py runs/NAME photo.jpg
  python study/predict.py runs/NAME/winner ./photos --json > predictions.jsonl

exit codes: 0 done, 2 no such model, or unreadable pictures, 4 no room for the output,
130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2, 4 or 130."""
    title, parser = "there is no model to predict with", _parser()
    return run_command(title, lambda: _predict(parser.parse_args(argv)))


def _predict(given: Namespace) -> int:
    # These import torch, and --help or a wrong flag need not wait for it.
    from study.reporting import prediction_output
    from tl_core.errors import Fault
    from tl_core.inference.serialization import load_model
    from tl_core.inference.sound_device import sound_device

    faults: list[Fault | str] = []
    path, (device, why) = find_model(given.model), sound_device()
    model = load_model(path, device)
    for note in [why] * bool(why) + [f"this model was {note}" for note in model.notes]:
        print(f"note: {note}", file=sys.stderr)
    paths = prediction_output.find_pictures(given.images, faults)
    predictions = prediction_output.predict(model, paths, faults)
    if given.json:
        prediction_output.print_lines(model, predictions)
    else:
        prediction_output.print_table(model, predictions, len(paths))
    return fault_code("some pictures can't be read", faults)


def _parser() -> Parser:
    parser = Parser("study/predict.py", _ABOUT, _EXAMPLES)
    parser.add_argument(
        "model", metavar="MODEL", help="a study's name or folder, or its winner's folder or file"
    )
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="picture, or a folder with pictures at any depth"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object for each picture")
    return parser


if __name__ == "__main__":
    sys.exit(main())
