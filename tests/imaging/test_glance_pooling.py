"""Both glances decide on tissues where they agree, the second alone where they do not."""

import numpy as np
import pytest
from scipy import optimize

from secondglance.imaging.glance_pooling import (
    AGREEMENT,
    LEAST_AGREEMENT,
    WEIGHT,
    balance,
    pool_glances,
    weight_of_first,
)
from secondglance.imaging.tissues import TissueMaps, label_tissues


def maps(fractions, mask, share=1.0):
    """Tissue maps with these fractions inside a mask, of which a part is brain."""
    fractions = np.where(mask[..., None], fractions, 0).astype(np.float32)
    return TissueMaps(label_tissues(fractions, mask), fractions, fractions * np.float32(share))


def sure(labels, others=0.1):
    """Fractions that say a label, and a little of the other tissues."""
    fractions = np.full((*labels.shape, 3), others)
    np.put_along_axis(fractions, labels[..., None] - 1, 1 - 2 * others, axis=-1)
    return fractions


def labels_that_agree(dice, tissue=3, n=1000):
    """Labels of two glances that share this Dice of a small tissue, and more of the others."""
    first = np.full(n, 1 if tissue == 2 else 2)
    first[:100] = {1, 2, 3}.difference({tissue, first[-1]}).pop()
    second = first.copy()
    # Of 100 and 100 voxels so many are the same
    moved = round(100 * (1 - dice))
    first[-100:] = tissue
    second[-100 - moved : n - moved] = tissue
    return first, second


@pytest.mark.parametrize(
    ('agreement', 'weight'),
    [(0.3, 0), (0.55, 0), (0.61, 0.08), (0.64, 0.12), (0.7, 0.2), (0.9, 0.2)],
)
@pytest.mark.parametrize('tissue', [1, 2, 3])
def test_the_first_counts_by_the_tissue_on_which_both_agree_least(agreement, weight, tissue):
    """From 0.55 to 0.7 its weight grows from 0 to 0.2."""
    assert (LEAST_AGREEMENT, AGREEMENT, WEIGHT) == (0.55, 0.7, 0.2)
    first, second = labels_that_agree(agreement, tissue)
    assert weight_of_first(first, second) == pytest.approx(weight, abs=1e-9)


def test_a_tissue_that_neither_sees_says_nothing_and_no_brain_gives_no_weight():
    seen = np.array([1, 1, 2])
    assert weight_of_first(seen, seen) == WEIGHT
    assert weight_of_first(np.array([1, 3, 2]), seen) == 0
    assert weight_of_first(np.zeros(0, int), np.zeros(0, int)) == 0


def test_where_they_disagree_the_second_glance_stands_alone():
    mask = np.ones((10, 5, 20), bool)
    first, second = (labels.reshape(mask.shape) for labels in labels_that_agree(0.5))
    given = maps(sure(second), mask)
    found, weight = pool_glances(maps(sure(first), mask), given, mask)
    assert weight == 0
    assert found is given


def test_fractions_are_the_weighted_geometric_mean_with_odds_by_tissue():
    """Log odds of the result differ from those of the mean by one number a tissue."""
    rng = np.random.default_rng(3)
    mask = np.ones((10, 10, 3), bool)
    labels = rng.integers(1, 4, mask.shape)
    one, two = (0.8 * sure(labels) + 0.2 * rng.dirichlet([1, 1, 1], mask.shape) for _ in range(2))
    found, weight = pool_glances(maps(one, mask), maps(two, mask), mask)
    assert weight == WEIGHT
    mean = 0.2 * np.log(one) + 0.8 * np.log(two)
    apart = np.log(found.fractions) - mean
    odds = apart - apart[..., :1]
    np.testing.assert_allclose(odds, np.broadcast_to(odds[0, 0, 0], odds.shape), atol=1e-4)


def test_there_is_as_much_of_each_tissue_as_the_second_glance_sees():
    rng = np.random.default_rng(4)
    mask = rng.random((12, 9, 7)) < 0.6
    labels = rng.integers(1, 4, mask.shape)
    second = maps(sure(labels, 0.05), mask, share=0.7)
    second.amounts[:6] /= 7
    # The first takes much for CSF
    first = maps(sure(labels) + np.array([0, 0, 0.4]), mask)
    found, weight = pool_glances(first, second, mask)
    assert weight == WEIGHT
    totals = found.amounts.sum(axis=(0, 1, 2)), second.amounts.sum(axis=(0, 1, 2))
    np.testing.assert_allclose(*totals, atol=2e-4 * second.amounts.sum())
    np.testing.assert_allclose(found.fractions.sum(axis=-1), mask, atol=1e-5)
    np.testing.assert_allclose(found.share, second.share, atol=1e-5)
    np.testing.assert_array_equal(found.labels, label_tissues(found.fractions, mask))
    assert not np.array_equal(found.fractions, second.fractions)


def test_amounts_beside_the_mask_stay():
    mask = np.zeros((6, 6, 2), bool)
    mask[1:5, 1:5] = True
    labels = np.random.default_rng(5).integers(1, 4, mask.shape)
    second = maps(sure(labels), mask)
    second.amounts[0, 0, 0] = 0.1, 0.2, 0.05
    before = second.amounts.copy()
    found, _ = pool_glances(maps(sure(labels, 0.2), mask), second, mask)
    np.testing.assert_array_equal(found.amounts[~mask], before[~mask])
    np.testing.assert_array_equal(second.amounts, before)


def test_neither_glance_can_exclude_a_tissue_alone():
    """A fraction of 0 counts as 0.01: a first glance that is sure moves no voxel by itself."""
    mask = np.ones((10, 10, 4), bool)
    labels = np.random.default_rng(6).integers(1, 4, mask.shape)
    labels[0, 0, 0] = 1
    first, second = sure(labels, 0.0), sure(labels)
    first[0, 0, 0] = 0, 1, 0
    found, _ = pool_glances(maps(first, mask), maps(second, mask), mask)
    # Odds of 8 to 1 for white matter, against 100 to 1 for grey with a fifth of the weight
    odds = found.fractions[0, 0, 0, 0] / found.fractions[0, 0, 0, 1]
    assert odds == pytest.approx(8**0.8 / 100**0.2, rel=0.05)
    assert found.labels[0, 0, 0] == 1


def test_balance_is_that_of_a_general_solver():
    rng = np.random.default_rng(7)
    given = rng.dirichlet([2, 3, 1], 500)
    share = rng.random(500)
    totals = share.sum() * np.array([0.3, 0.5, 0.2])

    def missing(logs):
        odds = given * np.exp([*logs, 0.0])
        return share @ (odds / odds.sum(axis=1, keepdims=True))[:, :2] - totals[:2]

    odds = given * np.exp([*optimize.root(missing, [0, 0]).x, 0.0])
    np.testing.assert_allclose(
        balance(given, totals, share), odds / odds.sum(axis=1, keepdims=True), atol=5e-4
    )
