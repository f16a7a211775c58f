"""The words for the parts of a split, and what to say where some are not given."""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from tl_core.data.splitting.rules import HELD_OUT, PART_WORDS, PARTS, Part, SplitRules
from tl_core.text import pluralize

_WORDS: dict[Part, str] = {
    "train": "train|training",
    "val": "val|valid|validation|dev",
    "test": "test|testing",
}
SPELLINGS = "train or training; val, valid, validation or dev; test or testing"


def part_of(name: str, affixes: bool = False) -> Part | None:
    """Return the part that a word names, in any case; None if it names none.

    `affixes` takes names of folders such as `training_set` and `seg_train` as well.
    """
    before = r"(?:.*[\W_])?" if affixes else ""
    after = r"(?:[\W_]*(?:set|data|images|split))?" if affixes else ""
    for part in PARTS:
        if re.fullmatch(f"{before}(?:{_WORDS[part]}){after}", name.strip(), re.IGNORECASE):
            return part
    return None


def given_note(rules: SplitRules, names: Mapping[Part, str]) -> Iterator[str]:
    """Say that the split is the given one, in one line, and what is drawn beside it.

    `names` are those of the parts that are given, such as `train/`.
    """
    assert rules.parts is not None
    counts = np.bincount(rules.parts[rules.parts >= 0], minlength=len(PARTS))
    sizes = [
        f"{pluralize(int(counts[i]), 'image')} of {PART_WORDS[part]} ({names[part]})"
        for i, part in enumerate(PARTS)
        if part in names
    ]
    share = f"train ratios are shares of the {PART_WORDS['train']} part"
    yield f"the split is the given one: {', '.join(sizes)}; {share}"
    for part in reversed(rules.drawn()):
        yield (
            f"no {PART_WORDS[part]} part is given: {100 * HELD_OUT:g} % of each class of the "
            f"training part, drawn by --split-seed, is the {PART_WORDS[part]} set"
        )
