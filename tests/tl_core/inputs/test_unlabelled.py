import numpy as np
import pytest

from tl_core.inputs.unlabelled import Unlabelled, aux_table, shares


def test_a_pass_shows_each_image_once_and_only_the_seed_decides() -> None:
    pools = [np.arange(10, 17), np.arange(20, 27)]
    drawn = Unlabelled(pools, [3, 4], 3)
    views = np.concatenate([drawn.views(step) for step in range(7)], axis=1)
    assert views.shape == (2, 21)
    for row, pool in zip(views, pools, strict=True):
        for number in range(3):
            assert sorted(row[7 * number : 7 * number + 7]) == pool.tolist()
        assert row[:7].tolist() != row[7:14].tolist(), "another order"
    alone = Unlabelled(pools[1:], [4], 3)
    np.testing.assert_array_equal(alone.views(5)[0], drawn.views(5)[1])


def test_small_pools_are_whole_and_mirrors_are_other_views() -> None:
    drawn = Unlabelled([np.array([5, 7]), np.arange(9)], [0, 1], 32, mirror=100)
    assert drawn.size == 2
    views = np.stack([drawn.views(step) for step in range(40)])
    assert {*(views[:, 0] % 100).flat} == {5, 7}
    assert 0.3 < (views >= 100).mean() < 0.7


def test_the_table_makes_the_mean_that_of_all_labels() -> None:
    known = np.array([True, False, True, True, True, False])
    assert aux_table(known | True, [np.array([0, 1])], [np.array([], int)]) is None
    # Two of three training images have a label: each counts 3 / 2.
    table = aux_table(known, [np.array([0, 1, 2])], [np.array([], int)])
    assert table is not None
    assert table.tolist() == [[1.5, 0, 1.5, 0, 0, 0]]
    # With two others, all four count 1 / 4: 3 * (1 / 4) in a mean of three, 2 * (1 / 4) of two.
    table = aux_table(known, [np.array([0, 1, 2])], [np.array([3, 4])])
    assert table is not None
    assert table.tolist() == [[0.75, 0, 0.75, 0.5, 0.5, 0]]
    table = aux_table(known, [np.array([1, 5])], [np.array([], int)])
    assert table is not None
    assert not table.any(), "no label, and nothing to count"


@pytest.mark.parametrize("sizes", [[3], [3, 2]])
def test_shares_make_means_over_each_kind(sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    of_class, of_aux = shares(sizes, 2)
    start = 0
    for n in sizes:
        batch = slice(start, start + n + 2)
        losses = rng.random(n + 2)
        assert (losses * of_class[batch]).mean() == pytest.approx(losses[:n].mean())
        both = losses[:n].mean() + losses[n:].mean()
        assert (losses * of_aux[batch]).mean() == pytest.approx(both)
        start += n + 2
