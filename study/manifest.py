"""A manifest of a folder: `python study/manifest.py FOLDER --out photos.csv`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.errors import print_faults
from tl_core.data.given.manifest import SUFFIXES, write_manifest
from tl_core.data.given.request import DRAWN, DataRequest, find_data
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
  python study/run.py --data photos.csv

exit codes: 0 done, 2 bad input"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 or 2."""
    given = _parser().parse_args(argv)
    out = user_path(given.out)
    try:
        _check(given.folder, out)
        asked = DataRequest(given.folder, group_regex=given.group_regex)
        source = find_data(asked, Path())
        write_manifest(source, user_path(given.folder), out)
    except InputError as error:
        print_faults("there is no manifest", error.faults)
        return 2
    except OSError as error:
        print_faults("there is no manifest", [Fault("--out", f"{out}: {error.strerror or error}")])
        return 2
    for note in source.notes:
        print(f"note: {note}")
    n = pluralize(len(source.ids), "image")
    classes = pluralize(len(source.classes), "class", "classes")
    print(f"{printable(str(out))}: {n} of {classes}; study it with --data {printable(str(out))}")
    return 0


def _check(folder: str, out: Path) -> None:
    """Raise `InputError` for what can't be listed or written."""
    faults = []
    if folder in DRAWN or not user_path(folder).is_dir():
        faults.append(Fault("FOLDER", f"{folder}: a data folder is expected"))
    if out.suffix.lower() not in SUFFIXES:
        faults.append(Fault("--out", f"{out}: must end in {', '.join(SUFFIXES)}"))
    elif out.exists():
        faults.append(Fault("--out", f"{out} exists; choose another name or remove it"))
    if faults:
        raise InputError(faults)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "study/manifest.py",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="FOLDER", help="a data folder, as --data takes it")
    parser.add_argument("--out", default="photos.csv", help="the table to write (photos.csv)")
    parser.add_argument("--group-regex", help="finds the group in each path, for column group")
    return parser


if __name__ == "__main__":
    sys.exit(main())
