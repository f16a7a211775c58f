from pathlib import Path

import numpy as np

from tl_core.data.splitting.rules import NO_RULES, SplitRules, keep_rules, open_rules


def test_rules_are_kept_in_the_cache(tmp_path: Path) -> None:
    parts, groups = np.array([0, 2, -1], np.int8), np.array([5, 5, 7])
    entries = set()
    for rules in (SplitRules(parts, groups, "farm"), SplitRules(groups=groups), SplitRules(parts)):
        entry = keep_rules(rules, tmp_path)
        assert keep_rules(rules, tmp_path) == entry
        found = open_rules(entry)
        for was, now in ((rules.parts, found.parts), (rules.groups, found.groups)):
            if was is None or now is None:
                assert was is now
            else:
                assert (was.tolist(), was.dtype) == (now.tolist(), now.dtype)
        assert found.by == rules.by
        entries.add(entry)
    assert len(entries) == 3


def test_what_rules_say() -> None:
    assert NO_RULES.is_plain()
    assert NO_RULES.drawn() == ["test", "val"]
    assert NO_RULES.largest_ratio == 0.8
    assert NO_RULES.pool(3).tolist() == [0, 1, 2]
    rules = SplitRules(np.array([2, 0, 0, -1], np.int8), np.array([1, 2, 3, 4]), "farm")
    assert rules.drawn() == ["val"]
    assert rules.pool(4).tolist() == [1, 2]
    some = rules.only([3, 1])
    assert some.parts is not None
    assert some.groups is not None
    assert (some.parts.tolist(), some.groups.tolist(), some.by) == ([-1, 0], [4, 2], "farm")
