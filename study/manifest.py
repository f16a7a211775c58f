"""A manifest of a folder: `python study/manifest.py FOLDER --out photos.csv`."""

import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if not __package__:  # Run as a script: other packages may be called `study`.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.config.command_line import Parser
from study.signals import run_command
from tl_core.config import BUILT_IN
from tl_core.data.given.grouping import group_by_regex
from tl_core.data.given.labelling import label_by_regex
from tl_core.data.given.manifest import SUFFIXES, write_manifest
from tl_core.data.given.request import DataRequest, find_data
from tl_core.data.sources import Source
from tl_core.errors import Fault, InputError
from tl_core.files import user_path
from tl_core.text import pluralize, printable

_ABOUT = """\
List the images of a data folder in a table with columns path, label, split and group, to edit and
to study with --data. Columns split and group are there if the folder holds a split, or with
--group-regex. Paths are relative to the folder of the table if the images are below it."""
_EXAMPLES = """\
examples:
  python study/manifest.py ./photos --out photos.csv
  python study/manifest.py ./photos --out photos.csv --group-regex 'patient_(\\d+)'
  python study/manifest.py ./flat --out photos.csv --label-regex '(cat|dog)'
  python study/run.py --data photos.csv

exit codes: 0 done, 2 bad input, 4 no room for the output, 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2, 4 or 130."""
    return run_command("there is no manifest", lambda: _list(_parser().parse_args(argv)))


def _list(given: Namespace) -> int:
    out = user_path(given.out)
    _check(given.folder, out)
    source = _source(given.folder, given.label_regex, given.group_regex)
    with _blaming("--out", out):
        write_manifest(source, user_path(given.folder), out)
    for note in source.notes:
        print(f"note: {note}")
    n = pluralize(len(source.ids), "image")
    classes = pluralize(len(source.classes), "class", "classes")
    table = printable(str(out))
    print(f"{table}: {n} of {classes}; study it with --data {shlex.quote(table)}")
    return 0


def _source(folder: str, label_regex: str | None, group_regex: str | None) -> Source:
    if label_regex is None:
        return find_data(DataRequest(folder, group_regex=group_regex), Path())
    source = label_by_regex(user_path(folder), label_regex)
    return group_by_regex(source, group_regex) if group_regex else source


def _check(folder: str, out: Path) -> None:
    """Raise `InputError` for what can't be listed or written."""
    faults = []
    with _blaming("FOLDER", folder):
        is_folder = user_path(folder).is_dir()
    with _blaming("--out", out):
        is_there = out.exists()
    if folder in BUILT_IN or not is_folder:
        there = f"; the folder of this name is ./{folder}" if is_folder else ""
        faults.append(Fault("FOLDER", f"{folder}: a data folder is expected{there}"))
    if out.suffix.lower() not in SUFFIXES:
        faults.append(Fault("--out", f"{out}: must end in {', '.join(SUFFIXES)}"))
    elif is_there:
        faults.append(Fault("--out", f"{out} exists; choose another name or remove it"))
    if faults:
        raise InputError(faults)


@contextmanager
def _blaming(flag: str, value: Path | str) -> Iterator[None]:
    """Raise `InputError` for a flag whose path the system refuses."""
    try:
        yield
    except OSError as error:
        raise InputError([Fault(flag, f"{value}: {error.strerror or error}")]) from error


def _parser() -> Parser:
    parser = Parser("study/manifest.py", _ABOUT, _EXAMPLES)
    parser.add_argument("folder", metavar="FOLDER", help="a data folder, as --data takes it")
    parser.add_argument("--out", default="photos.csv", help="the table to write (photos.csv)")
    parser.add_argument(
        "--label-regex", help="finds the class in each path; by default the sub-folder is the class"
    )
    parser.add_argument("--group-regex", help="finds the group in each path, for column group")
    return parser


if __name__ == "__main__":
    sys.exit(main())
