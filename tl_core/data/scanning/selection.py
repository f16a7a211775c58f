"""Which files of a data folder are used: `--include` and `--exclude`, as in a .gitignore file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
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
    place: str = ""
    """Where the folder lies whose files are asked for, such as `train/` below the data folder.
    Patterns may name the files with it or without."""
    _used: set[str] = field(default_factory=set, repr=False, compare=False)
    """The patterns that have matched something in one of the folders."""

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    @cached_property
    def _specs(self) -> tuple[list[GitIgnoreSpec], list[GitIgnoreSpec]]:
        return [*map(compile_glob, self.include)], [*map(compile_glob, self.exclude)]

    def inside(self, place: str) -> "Selection":
        """The same patterns, for the files of a folder below the data folder."""
        return replace(self, place=f"{place}/")

    def keeps(self, path: str) -> bool:
        """Whether a file is used; `path` is relative to the folder, with / between names."""
        include, exclude = self._specs
        names = self._names(path)
        if any(_matches(spec, names) for spec in exclude):
            return False
        return not include or any(_matches(spec, names) for spec in include)

    def keeps_folder(self, path: str) -> bool:
        """Whether files of a folder may be used: no pattern leaves it out as a whole."""
        names = self._names(f"{path}/")
        return not any(_matches(spec, names) for spec in self._specs[1])

    def note_matches(self, paths: Iterable[str]) -> None:
        """Remember which patterns match one of the paths, also those that are not used anyway."""
        found = [name for path in paths for name in self._names(path)]
        for globs, specs in zip((self.include, self.exclude), self._specs, strict=True):
            matches = zip(globs, (_matches(spec, found) for spec in specs), strict=True)
            self._used.update(glob for glob, matched in matches if matched)

    def _names(self, path: str) -> tuple[str, ...]:
        return (path, self.place + path) if self.place else (path,)

    def unused(self) -> Iterator[Fault]:
        """Yield a fault for each pattern that has matched nothing: it may be mistyped."""
        for flag, globs in (("--include", self.include), ("--exclude", self.exclude)):
            for glob in globs:
                if glob not in self._used:
                    yield Fault(flag, f"{glob}: matches no file of the data folder")


def _matches(spec: GitIgnoreSpec, names: Iterable[str]) -> bool:
    return any(map(spec.match_file, names))


ALL = Selection()
"""Every file."""
