"""Heads as stacks of slices, and simulated acquisition failures."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from secondglance.simulation.animal import draw_animal
from secondglance.simulation.failures import FAILURES, simulate_failure
from secondglance.simulation.head_stack import AlongHead, draw_head

SPACING = 0.6


@pytest.fixture(scope='module')
def animal(rat_atlas):
    return draw_animal(rat_atlas, np.random.default_rng(0), SPACING, 48)


@pytest.fixture(scope='module')
def head(animal):
    return draw_head(animal, np.random.default_rng(4), thickness=0.8)


def test_values_along_a_head_are_distributed_as_ever_and_neighbours_alike():
    positions = np.arange(0.0, 12.0, 0.5)
    rng = np.random.default_rng(0)
    drawn = np.stack([AlongHead(rng, positions, 3.0).uniform(2, 6, 24) for _ in range(800)])
    for n in (0, 11, 23):
        assert stats.kstest(drawn[:, n], stats.uniform(2, 4).cdf).pvalue > 1e-3
    normal = np.stack([AlongHead(rng, positions, 3.0).normal(1, 2, 24) for _ in range(2000)])
    found = np.corrcoef(normal[:, [4, 10, 22]].T)[0, 1:]
    # 3 and 9 mm apart
    np.testing.assert_allclose(found, np.exp(-np.array([1.0, 9.0]) / 2), atol=0.08)
    assert normal.std() == pytest.approx(2, rel=0.05)


def test_whole_numbers_and_choices_keep_their_shares():
    positions = np.linspace(0, 20, 20)
    rng = np.random.default_rng(1)
    along = [AlongHead(rng, positions, 2.0) for _ in range(600)]
    numbers = np.concatenate([a.integers(0, 4, 20) for a in along])
    np.testing.assert_allclose(np.bincount(numbers) / numbers.size, 0.25, atol=0.03)
    chosen = np.concatenate([a.choice([5, 6], 20, [0.8, 0.2]) for a in along])
    assert (chosen == 5).mean() == pytest.approx(0.8, abs=0.03)
    # Noise as fine as a slice is each value's own
    noise = along[0].standard_normal((20, 1, 40, 40))
    assert abs(np.corrcoef(noise[3].ravel(), noise[4].ravel())[0, 1]) < 0.1


def test_heads_are_reproducible_and_differ(animal):
    first, again, other = (draw_head(animal, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.images.shape != other.images.shape or (first.images != other.images).any()
    assert (np.diff(first.positions) > 0).all()
    assert set(np.unique(first.labels)) == {0, 1, 2, 3}


def test_neighbours_are_more_alike_than_slices_far_apart(head):
    held = np.flatnonzero((head.labels > 0).any(axis=(1, 2)))
    around = np.where(head.labels == 0, head.images, 0)

    def alike(apart):
        pairs = [(n, n + apart) for n in held[:-apart]]
        return np.mean([np.corrcoef(around[a].ravel(), around[b].ravel())[0, 1] for a, b in pairs])

    assert alike(1) > alike(8) + 0.1


def test_disasters_are_what_they_are_called(head):
    for kind in FAILURES:
        spoilt = simulate_failure(head, kind, np.random.default_rng(0))
        assert spoilt.images.shape == head.images.shape
        assert (spoilt.images != head.images).any()
        again = simulate_failure(head, kind, np.random.default_rng(0))
        np.testing.assert_array_equal(spoilt.images, again.images)
    whole = (head.labels > 0).sum()
    lost = simulate_failure(head, 'empty slices', np.random.default_rng(0))
    gone = ~lost.images.any(axis=(1, 2))
    assert 0.15 < gone.mean() < 0.55
    assert not lost.labels[gone].any()
    half = (simulate_failure(head, 'half brain', np.random.default_rng(0)).labels > 0).sum()
    assert 0.3 < half / whole < 0.7
    small = (simulate_failure(head, 'wrong species', np.random.default_rng(0)).labels > 0).sum()
    assert 0.1 < small / whole < 0.27
    assert not simulate_failure(head, 'blank', np.random.default_rng(0)).labels.any()
    with pytest.raises(ValueError, match='is not one of'):
        simulate_failure(head, 'flood', np.random.default_rng(0))


def test_a_lost_slice_shows_no_brain(animal):
    """Of the fifth head that is drawn the third slice is lost, in the midst of the brain."""
    head = draw_head(animal, np.random.default_rng(5), thickness=2.5)
    held = np.ptp(head.images, axis=(1, 2)) > 0
    assert 0 < (~held).sum() < 3
    assert head.labels[held][1:-1].any(axis=(1, 2)).all()
    assert not head.labels[~held].any()


def test_half_of_a_brain_is_lost_from_its_middle_on(head):
    """Left or right; the brain lies beside the middle of its slices here."""
    labels = np.zeros((3, 40, 30), np.uint8)
    labels[:, 4:16, 8:28] = 2
    whole = replace(head, images=np.ones(labels.shape, np.float32), labels=labels)
    for seed in range(4):
        half = simulate_failure(whole, 'half brain', np.random.default_rng(seed))
        rows = np.flatnonzero((half.labels > 0).any(axis=(0, 2)))
        assert rows.tolist() in (list(range(4, 9)), list(range(9, 16)))
        assert (half.labels[:, rows, 8:28] == 2).all()
        np.testing.assert_array_equal(
            half.images > 0, (half.images > 0)[:1, :, :1] | (half.images < 0)
        )


def test_an_animal_of_another_species_keeps_its_classes(head):
    """Where fluid meets air there is neither grey nor white matter."""
    labels = np.zeros((2, 40, 40), np.uint8)
    labels[:, 10:30, 8:31] = 3
    fluid = replace(head, images=np.ones(labels.shape, np.float32), labels=labels)
    small = simulate_failure(fluid, 'wrong species', np.random.default_rng(0))
    assert set(np.unique(small.labels)) == {0, 3}
