"""Which files of a data folder are used: `--include` and `--exclude`, as in a .gitignore file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
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
    _used: set[str] = field(default_factory=set, repr=False, compare=False)
    """The patterns that have matched something in one of the folders."""

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

    def note_matches(self, paths: Iterable[str]) -> None:
        """Remember which patterns match one of the paths, also those that are not used anyway."""
        found = [*paths]
        for globs, specs in zip((self.include, self.exclude), self._specs, strict=True):
            matches = zip(globs, (any(map(spec.match_file, found)) for spec in specs), strict=True)
            self._used.update(glob for glob, matched in matches if matched)

    def unused(self) -> Iterator[Fault]:
        """Yield a fault for each pattern that has matched nothing: it may be mistyped."""
        for flag, globs in (("--include", self.include), ("--exclude", self.exclude)):
            for glob in globs:
                if glob not in self._used:
                    yield Fault(flag, f"{glob}: matches no file of the data folder")


ALL = Selection()
"""Every file."""
