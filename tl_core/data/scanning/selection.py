"""Which files of a data folder are used: `--include` and `--exclude`, as in a .gitignore file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from pathspec import GitIgnoreSpec

from tl_core.errors import Fault


def compile_glob(glob: str) -> GitIgnoreSpec:
    """Return what a pattern matches; raises `ValueError` if it can't match anything."""
    if not glob.strip() or glob.startswith(("!", "#")):
        why = "a pattern as in a .gitignore file is expected, such as masks or *_mask.png"
        raise ValueError(f"{why}; it can't begin with ! or #")
    return GitIgnoreSpec.from_lines([glob.removeprefix("./")])


@dataclass(frozen=True)
class Selection:
    """Patterns of the files to use, of those to leave out, or of both."""

    include: tuple[str, ...] = ()
    """A file must match one of them, if there are any; so it does if its folder matches."""
    exclude: tuple[str, ...] = ()
    """A file must match none of them."""

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    @cached_property
    def _specs(self) -> tuple[list[GitIgnoreSpec], list[GitIgnoreSpec]]:
        return [*map(compile_glob, self.include)], [*map(compile_glob, self.exclude)]

    def keeps(self, path: str) -> bool:
        """Whether a file is used; `path` is relative to the data folder, with / between names."""
        include, exclude = self._specs
        if any(spec.match_file(path) for spec in exclude):
            return False
        return not include or any(spec.match_file(path) for spec in include)

    def keeps_folder(self, path: str) -> bool:
        """Whether files of a folder may be used: no pattern leaves it out as a whole."""
        return not any(spec.match_file(f"{path}/") for spec in self._specs[1])

    def unused(self, paths: Iterable[str]) -> Iterator[Fault]:
        """Yield a fault for each pattern that matches none of the paths: it may be mistyped."""
        found = [*paths]
        for flag, globs, specs in zip(
            ("--include", "--exclude"), (self.include, self.exclude), self._specs, strict=True
        ):
            for glob, spec in zip(globs, specs, strict=True):
                if not any(map(spec.match_file, found)):
                    yield Fault(flag, f"{glob}: matches no file of the data folder")


ALL = Selection()
"""Every file."""
