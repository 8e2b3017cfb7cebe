import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.placement.correlation import correlate, standardise
from secondglance.imaging.placement.slice_matching import match_slices, peak_correlations


@pytest.fixture
def donor(rng):
    """Sixteen slices 1 mm apart with a pattern that changes slowly."""
    field = ndimage.gaussian_filter(rng.standard_normal((16, 24, 24)), (1, 1.5, 1.5))
    return np.clip(field / field.std(), 0, None)


POSITIONS = np.arange(16) - 7.5


def test_same_stack_matches_itself(donor):
    match = match_slices(donor, POSITIONS, donor, POSITIONS)
    assert match.nearest.tolist() == list(range(16))
    assert match.offset_mm == 0
    assert match.scale == 1
    assert match.score == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize('offset', [-3, 2, 4])
def test_known_offset_is_found(donor, offset):
    # The subject's stack begins elsewhere in the head, and its slices are moved in plane
    rows = np.arange(16)
    shared = (rows + offset >= 0) & (rows + offset < 16)
    subject = np.where(shared[:, None, None], donor[np.clip(rows + offset, 0, 15)], 0)
    subject = np.roll(subject, (2, -3), (1, 2))
    match = match_slices(subject, POSITIONS, donor, POSITIONS)
    assert match.offset_mm == pytest.approx(offset)
    assert match.nearest[shared].tolist() == (rows + offset)[shared].tolist()
    assert set(match.nearest[~shared]) == {-1}


def test_thinner_slices_share_a_donor_slice(donor):
    thin = np.repeat(donor, 2, axis=0)
    positions = (np.arange(32) - 15.5) / 2
    match = match_slices(thin, positions, donor, POSITIONS)
    assert np.abs(match.nearest - np.arange(32) // 2).max() <= 1


def test_slices_that_run_the_other_way_are_noticed(donor):
    match = match_slices(donor[::-1], POSITIONS, donor, POSITIONS)
    assert match.scale < 0
    np.testing.assert_array_equal(match.nearest, np.arange(16)[::-1])


def test_lost_and_thick_slices_go_with_their_own(donor):
    lost = donor.copy()
    lost[[4, 9]] = 0
    np.testing.assert_array_equal(
        match_slices(lost, POSITIONS, donor, POSITIONS).nearest, np.arange(16)
    )
    thick = donor.reshape(8, 2, *donor.shape[1:]).mean(axis=1)
    match = match_slices(thick, POSITIONS.reshape(8, 2).mean(axis=1), donor, POSITIONS)
    assert np.abs(match.nearest - (2 * np.arange(8) + 0.5)).max() <= 1
    few = match_slices(donor[5:11], POSITIONS[5:11] - POSITIONS[5:11].mean(), donor, POSITIONS)
    np.testing.assert_array_equal(few.nearest, np.arange(5, 11))


def test_table_is_the_peak_of_the_normalised_correlation(donor):
    table = peak_correlations(donor[:2], donor[:3])
    pair = correlate(standardise(donor[1]), standardise(donor[2]))
    assert table.shape == (2, 3)
    assert table[1, 2] == pytest.approx(pair.max(), rel=1e-5)


def test_empty_subject_still_gives_an_answer(donor):
    match = match_slices(np.zeros_like(donor), POSITIONS, donor, POSITIONS)
    assert np.isfinite(match.score)
    assert match.nearest.shape == (16,)
