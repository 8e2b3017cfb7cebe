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


def test_of_large_images_only_likely_pairs_are_correlated_and_the_match_is_the_same(rng):
    """The match is that of the whole table, and no slice is without its donor slice."""
    field = ndimage.gaussian_filter(rng.standard_normal((16, 48, 48)), (1, 2, 2))
    donor = np.clip(field / field.std(), 0, None)
    subject = np.roll(donor[3:], (4, -3), (1, 2)) + 0.2 * rng.random((13, 48, 48))
    at = np.arange(13) - 6.0
    match = match_slices(subject, at, donor, POSITIONS)
    np.testing.assert_array_equal(match.nearest, np.arange(13) + 3)
    whole = peak_correlations(subject, donor)
    assert (match.correlation == 0).mean() > 0.5
    held = match.correlation > 0
    np.testing.assert_array_equal(match.correlation[held], whole[held])
    assert held[np.arange(13), match.nearest].all()
    # Offset and scale of the best line through the whole table, found by trying all
    best = max(
        np.mean([np.interp(i, np.arange(16), row) for i, row in zip(index, whole, strict=True)])
        for offset in np.arange(-3, 3.1, 0.25)
        for index in [at + offset + 7.5]
        if index.min() >= -0.5 and index.max() <= 15.5
    )
    assert match.score == pytest.approx(best - 1e-4 * abs(match.offset_mm), abs=2e-3)


def test_empty_subject_still_gives_an_answer(donor):
    match = match_slices(np.zeros_like(donor), POSITIONS, donor, POSITIONS)
    assert np.isfinite(match.score)
    assert match.nearest.shape == (16,)


def test_stacks_of_unequal_reach_are_matched_where_they_overlap(donor):
    # Six of the donor's slices, near its front, in a stack of their own
    part, at = donor[9:15], np.arange(6) - 2.5
    match = match_slices(part, at, donor, POSITIONS)
    assert match.nearest.tolist() == list(range(9, 15))
    assert match.offset_mm == pytest.approx(4)
    # The other way round, what the donor does not reach stays empty
    match = match_slices(donor, POSITIONS, part, at)
    assert match.nearest[9:15].tolist() == list(range(6))
    assert (match.nearest[:8] == -1).all()
    assert match.offset_mm == pytest.approx(-4)


def test_a_few_good_slices_do_not_beat_a_long_overlap(donor, rng):
    # All of the subject is like the donor, its front half more like the donor's back half
    subject = donor + 0.8 * rng.random(donor.shape)
    subject[8:] = donor[8:] + 1.0 * rng.random(donor[8:].shape)
    subject[10:] = 0.55 * donor[10:] + donor[:6]
    match = match_slices(subject, POSITIONS, donor, POSITIONS)
    assert match.offset_mm == 0
    assert match.nearest[:10].tolist() == list(range(10))


def cut(rng, *stacks):
    """Slices at any positions, mm, of one head that changes smoothly along its length."""
    field = ndimage.gaussian_filter(rng.standard_normal((48, 24, 24)), (2, 1.5, 1.5))
    field = np.clip(field / field.std(), 0, None)
    rows, columns = np.mgrid[:24, :24]

    def at(positions):
        where = [np.full((24, 24), 2 * p + 24) for p in positions]
        return np.stack([ndimage.map_coordinates(field, [w, rows, columns]) for w in where])

    return [at(stack) for stack in stacks]


@pytest.mark.parametrize('scale', [0.85, 1.15])
def test_slices_of_a_smaller_and_a_larger_head_are_matched(scale, rng):
    positions = np.arange(17) - 8.0
    donor, subject = cut(rng, positions, scale * positions)
    match = match_slices(subject, positions, donor, positions)
    assert match.scale == pytest.approx(scale, abs=0.026)
    expected = scale * positions
    inside = np.abs(expected) <= 8
    assert np.abs(match.nearest - (expected + 8))[inside].max() <= 0.9


def test_an_offset_between_whole_slices_is_found(rng):
    positions = np.arange(17) - 8.0
    donor, subject = cut(rng, positions, positions + 0.5)
    match = match_slices(subject, positions, donor, positions)
    assert match.offset_mm == pytest.approx(0.5, abs=0.26)
    assert match.scale == pytest.approx(1, abs=0.026)


@pytest.mark.parametrize('turned', [False, True])
def test_order_of_a_nearly_symmetric_head_is_that_of_the_header_unless_clearly_wrong(rng, turned):
    half = ndimage.gaussian_filter(rng.standard_normal((8, 24, 24)), (1, 1.5, 1.5))
    half = np.clip(half / half.std(), 0, None)
    other = ndimage.gaussian_filter(rng.standard_normal((16, 24, 24)), (1, 1.5, 1.5))
    other = np.clip(other / other.std(), 0, None)
    symmetric = np.concatenate([half, half[::-1]])
    # Little of the head says which way it runs: not enough to doubt the header
    donor = symmetric + 0.15 * other
    match = match_slices(donor[::-1] if turned else donor, POSITIONS, donor, POSITIONS)
    assert match.scale > 0
    # A third of it does: enough
    donor = symmetric + 0.4 * other
    match = match_slices(donor[::-1] if turned else donor, POSITIONS, donor, POSITIONS)
    assert (match.scale < 0) == turned


def test_of_equal_matches_the_one_without_offset_and_scale_is_taken():
    same = np.tile(np.eye(12)[None] * 3, (9, 1, 1))
    match = match_slices(same, np.arange(9) - 4.0, same, np.arange(9) - 4.0)
    assert (match.offset_mm, match.scale) == (0, 1)


@pytest.mark.parametrize(('far', 'alike', 'reached'), [
    (0.4, False, True), (1.4, True, True), (1.4, False, False), (1.6, True, False),
])  # fmt: skip
def test_reach_of_the_last_donor_slice(donor, rng, monkeypatch, far, alike, reached):
    monkeypatch.setattr('secondglance.imaging.placement.slice_matching.SPACING_SCALES', (1.0,))
    last = donor[-1] if alike else rng.random(donor.shape[1:])
    subject = np.concatenate([donor, last[None]])
    match = match_slices(subject, [*POSITIONS, POSITIONS[-1] + far], donor, POSITIONS)
    assert match.nearest[:16].tolist() == list(range(16))
    assert match.nearest[16] == (15 if reached else -1)


def test_beyond_the_end_is_counted_in_millimetres(donor, monkeypatch):
    """Slices of 2 mm: half a slice and 1 mm are 2 mm."""
    monkeypatch.setattr('secondglance.imaging.placement.slice_matching.SPACING_SCALES', (1.0,))
    subject = np.concatenate([donor, donor[-1:], donor[-1:]])
    ends = [2 * POSITIONS[-1] + 1.9, 2 * POSITIONS[-1] + 2.6]
    match = match_slices(subject, [*(2 * POSITIONS), *ends], donor, 2 * POSITIONS)
    assert match.nearest[-2:].tolist() == [15, -1]


def test_a_single_slice_alike_is_no_match_of_two_stacks(rng):
    """Noise, but for one slice at one end of either: at least half of them must overlap."""
    subject, donor = rng.random((2, 16, 24, 24))
    subject[0] = donor[15]
    match = match_slices(subject, POSITIONS, donor, POSITIONS)
    assert (match.nearest >= 0).sum() >= 8
    assert abs(match.offset_mm) <= 8


def test_the_end_slice_serves_a_millimetre_beyond_half_its_own(donor):
    """Slices 1 mm apart: the last one's half ends at 8 mm, what may still take it at 9 mm."""
    for beyond, taken in ((8.75, 15), (9.5, -1)):
        positions, subject = np.r_[POSITIONS, beyond], np.concatenate([donor, donor[-1:]])
        match = match_slices(subject, positions, donor, POSITIONS)
        assert match.nearest.tolist() == [*range(16), taken]


def test_two_slices_are_not_turned_round(donor):
    """Too few to say against the header which way they run."""
    turned = donor[[9, 7]]
    assert match_slices(turned, np.array([-1.0, 1.0]), donor, POSITIONS).scale > 0
    three = donor[[9, 8, 7]]
    assert match_slices(three, np.array([-1.0, 0.0, 1.0]), donor, POSITIONS).scale < 0


@pytest.mark.parametrize('size', [(24, 48), (48, 24)])
def test_of_narrow_images_every_pair_is_correlated(rng, size):
    field = ndimage.gaussian_filter(rng.standard_normal((16, *size)), (1, 2, 2))
    donor = np.clip(field / field.std(), 0, None)
    found = match_slices(donor, POSITIONS, donor, POSITIONS)
    np.testing.assert_array_equal(found.correlation, peak_correlations(donor, donor))
    assert found.correlation.min() > 0


def test_a_first_slice_that_shows_nothing_keeps_its_place(donor):
    lost = donor.copy()
    lost[[0, -1]] = 0
    match = match_slices(lost, POSITIONS, donor, POSITIONS)
    np.testing.assert_array_equal(match.nearest, np.arange(16))


@pytest.mark.parametrize('step', [0.25, 4.0])
def test_half_of_a_stack_must_overlap_however_far_apart_its_slices_are(donor, rng, step):
    """Five slices of sixteen that are the same count for less than half that are hardly alike."""
    shifted = np.concatenate([donor[4:], rng.random((4, 24, 24))])
    match = match_slices(shifted, step * POSITIONS, donor, step * POSITIONS)
    assert match.nearest[:12].tolist() == list(range(4, 16))
    few = rng.random(donor.shape)
    few[11:] = donor[:5]
    match = match_slices(few, step * POSITIONS, donor, step * POSITIONS)
    assert (match.nearest >= 0).sum() >= 8
