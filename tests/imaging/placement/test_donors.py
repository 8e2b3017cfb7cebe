"""A donor's mask lands where the subject's brain is."""

import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.errors import InputError
from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.correlation import centre_on
from secondglance.imaging.placement.donors import (
    Donor,
    kernels_of,
    match_donors,
    place_from_bank,
    place_stack,
    surfaces_of,
)
from secondglance.imaging.placement.similarity import transform

POSITIONS = np.arange(9.0) - 4


def animal(rng, size=(31, 28)):
    """Edges inside an ellipse that differ from slice to slice, with nothing around it."""
    field = ndimage.gaussian_filter(rng.standard_normal((9, *size)), (0.8, 1.2, 1.2))
    y, x = np.indices(size) - np.array(size)[:, None, None] // 2
    radius = 6 + 0.4 * np.arange(9)[:, None, None]
    mask = (y / 0.9) ** 2 + x**2 < radius**2
    return Donor(np.clip(field / field.std(), 0, None) * mask, mask, POSITIONS)


def move(stack, shifts):
    pairs = zip(stack, shifts, strict=True)
    return np.stack([ndimage.shift(s.astype(float), d, order=0) for s, d in pairs])


@pytest.mark.parametrize('size', [(31, 28), (32, 32), (27, 33)])
def test_mask_follows_known_shifts(rng, size):
    donor = animal(rng, size)
    shifts = np.stack([np.rint(0.5 * POSITIONS) + 2, np.full(9, -3)], axis=1)
    subject = move(donor.enhanced, shifts) + 0.05 * rng.random((9, *size))
    placed = place_stack(subject, POSITIONS, donor)
    expected = move(donor.mask, shifts) > 0.5
    np.testing.assert_array_equal(placed.mask, expected)
    assert placed.donor_slice.tolist() == list(range(9))
    assert not placed.replaced.any()
    assert placed.peaks.min() > 0.9


def test_outlier_shift_of_a_slice_is_replaced(rng):
    donor = animal(rng)
    subject = move(donor.enhanced, np.tile([3, -2], (9, 1)))
    # Slice 4 shows the same brain elsewhere
    subject[4] = ndimage.shift(donor.enhanced[4], (-7, 7), order=0)
    placed = place_stack(subject, POSITIONS, donor)
    assert np.flatnonzero(placed.replaced).tolist() == [4]
    np.testing.assert_array_equal(placed.mask, move(donor.mask, np.tile([3, -2], (9, 1))) > 0.5)
    assert placed.confidence[4] < 0.01


def test_head_in_a_larger_frame_far_from_the_middle(rng):
    donor = animal(rng)
    around = ((0, 0), (24, 3), (0, 37))
    subject, brain = np.pad(donor.enhanced, around), np.pad(donor.mask, around)
    np.testing.assert_array_equal(place_stack(subject, POSITIONS, donor).mask, brain)


def test_surfaces_are_highest_at_the_shifts_of_the_placement(rng):
    donor = animal(rng)
    shifts = np.stack([np.rint(0.5 * POSITIONS) + 2, np.full(9, -3)], axis=1)
    subject = np.pad(move(donor.enhanced, shifts), ((0, 0), (24, 3), (0, 37)))
    placed = place_stack(subject, POSITIONS, donor)
    chosen = [1, 4, 7]
    surfaces, first = surfaces_of(subject, placed.match.kernels, chosen)
    for n, surface in zip(chosen, surfaces, strict=True):
        highest = np.unravel_index(surface.argmax(), surface.shape)
        np.testing.assert_array_equal(np.array(highest) + first, placed.own_shifts[n])
        assert surface.max() == pytest.approx(placed.peaks[n], abs=1e-5)


def test_donor_most_like_the_subject_is_taken(rng):
    bank = [animal(rng) for _ in range(3)]
    subject = move(bank[1].enhanced, np.tile([1, 2], (9, 1))) + 0.1 * rng.random((9, 31, 28))
    placed = place_from_bank(subject, POSITIONS, bank)
    index = placed.match.index
    assert index == 1
    assert dice(placed.mask, move(bank[1].mask, np.tile([1, 2], (9, 1))) > 0.5) == 1


def test_slices_without_brain_beyond_the_donor_stay_empty(rng):
    donor = animal(rng)
    around = ((3, 3), (0, 0), (0, 0))
    placed = place_stack(np.pad(donor.enhanced, around), np.arange(15.0) - 7, donor)
    np.testing.assert_array_equal(placed.mask, np.pad(donor.mask, around))
    assert (placed.donor_slice < 0).sum() == 6


def test_end_slice_is_used_beyond_the_donor_where_it_correlates(rng, monkeypatch):
    monkeypatch.setattr('secondglance.imaging.placement.slice_matching.SPACING_SCALES', (1.0,))
    donor = animal(rng)
    short = Donor(donor.enhanced[2:], donor.mask[2:], POSITIONS[2:])
    # Half a slice and 1 mm beyond its end, no farther; the brain there is like the last slice
    subject = donor.enhanced.copy()
    subject[:2] = subject[2] + 0.7 * animal(rng).enhanced[:2]
    placed = place_stack(subject, POSITIONS, short)
    assert placed.donor_slice.tolist() == [-1, 0, 0, 1, 2, 3, 4, 5, 6]
    assert placed.mask[1].any()
    assert not placed.mask[0].any()


def test_kernel_is_zero_outside_the_brain(rng):
    donor = animal(rng)
    noisy = Donor(donor.enhanced + 1, donor.mask, POSITIONS)
    kernels, mask = kernels_of(noisy, (40, 41))
    assert not kernels[~mask].any()
    assert kernels[mask].sum() == pytest.approx((donor.enhanced + 1)[donor.mask].sum(), rel=1e-5)


@pytest.mark.parametrize('shape', [(9, 12), (20, 7)])
def test_frame_is_centred_on_the_mask(shape):
    mask = np.zeros((2, 11, 10), bool)
    mask[1, 1:4, 6:9] = True  # about (2, 7)
    (framed,) = centre_on(mask, shape, mask)
    assert framed.shape == (2, *shape)
    assert ndimage.center_of_mass(framed[1]) == (shape[0] // 2, shape[1] // 2)
    assert framed.sum() == 9


def test_empty_mask_keeps_the_middle():
    image = np.zeros((1, 5, 5))
    image[0, 2, 2] = 1
    (framed,) = centre_on(np.zeros((1, 5, 5), bool), (7, 9), image)
    assert np.argwhere(framed).tolist() == [[0, 3, 4]]


def test_blank_subject_gets_the_unmoved_mask_without_confidence(rng):
    placed = place_stack(np.zeros((9, 31, 28)), POSITIONS, animal(rng))
    assert not placed.shifts.any()
    assert not placed.confidence.any()


def test_empty_bank_is_refused():
    with pytest.raises(InputError, match='donor'):
        place_from_bank(np.zeros((1, 4, 4)), [0.0], [])


def test_shifts_are_from_the_middle_of_the_frame_and_own_ones_too(rng):
    """In a frame far from the head's middle, one slice elsewhere."""
    donor = animal(rng)
    shifts = np.tile([4, -3], (9, 1))
    subject = move(donor.enhanced, shifts)
    subject[4] = ndimage.shift(donor.enhanced[4], (-6, 6), order=0)
    around = ((0, 0), (20, 4), (0, 30))
    placed = place_stack(np.pad(subject, around), POSITIONS, donor)
    # A donor's brain lies in the middle of its frame, (15, 14); the new frame's is (27, 29)
    expected = np.array([20 + 15 + 4 - 27, 14 - 3 - 29])
    np.testing.assert_array_equal(placed.shifts, np.tile(expected, (9, 1)))
    np.testing.assert_array_equal(np.delete(placed.own_shifts, 4, 0), np.tile(expected, (8, 1)))
    assert placed.own_shifts[4].tolist() == [20 + 15 - 6 - 27, 14 + 6 - 29]
    for mask, shift, n in zip(placed.mask, placed.shifts, range(9), strict=True):
        (framed,) = centre_on(donor.mask, mask.shape, donor.mask)
        np.testing.assert_array_equal(mask, ndimage.shift(framed[n] * 1.0, shift, order=0) > 0.5)


def test_a_mask_that_fills_its_frame_stays():
    for size in ((10, 13), (9, 12)):
        image = np.arange(np.prod(size)).reshape(1, *size)
        np.testing.assert_array_equal(centre_on(np.ones((1, *size), bool), size, image)[0], image)


def test_slices_beyond_the_donor_have_no_say_in_the_line(rng):
    donor = animal(rng)
    shifts = np.tile([2, 1], (15, 1))
    subject = move(np.pad(donor.enhanced, ((3, 3), (0, 0), (0, 0))), shifts)
    # Beyond the brain something bright at one side, which correlates with any kernel there
    subject[:3, 2:6, 2:6] = subject[-3:, 2:6, 2:6] = rng.random((3, 4, 4)) + 1
    placed = place_stack(subject, np.arange(15.0) - 7, donor)
    np.testing.assert_array_equal(placed.shifts[3:12], np.tile([2, 1], (9, 1)))
    assert not placed.mask[[0, -1]].any()


@pytest.mark.parametrize('off', [(-9, 0), (0, 8)])
def test_a_brain_at_the_edge_of_its_head_is_reached(rng, off):
    """A head ends near the brain: the mask may reach beyond it."""
    donor = animal(rng)
    subject = move(donor.enhanced, np.tile(off, (9, 1)))
    placed = place_stack(subject, POSITIONS, donor)
    assert dice(placed.mask, move(donor.mask, np.tile(off, (9, 1))) > 0.5) > 0.97


def test_the_size_of_a_mask_is_found_by_the_donor_that_is_taken(rng):
    """One of the bank does not look like the subject, and its slices lie farther apart."""
    donor = animal(rng)
    other = animal(rng)
    other = Donor(other.enhanced[::-1], other.mask[::-1] & (np.arange(28) < 14), 3 * POSITIONS)
    subject = ndimage.zoom(donor.enhanced, (1, 1.1, 1.1), order=1)
    alone = place_from_bank(subject, POSITIONS, [donor], similarity=True)
    of_two = place_from_bank(subject, POSITIONS, [other, donor], similarity=True)
    assert of_two.match.index == 1
    np.testing.assert_array_equal(of_two.mask, alone.mask)
    assert of_two.match.scale == alone.match.scale


def test_a_mask_is_moved_alone_unless_more_is_asked_for(rng):
    donor = animal(rng)
    subject = ndimage.zoom(donor.enhanced, (1, 1.1, 1.1), order=1)
    moved = match_donors(subject, POSITIONS, [donor])
    assert (moved.scale, moved.degrees) == (1, 0)
    assert place_from_bank(subject, POSITIONS, [donor]).match.scale == 1
    assert match_donors(subject, POSITIONS, [donor], similarity=True).scale > 1


def test_a_head_that_touches_the_edge_of_its_field_is_seen_whole(rng):
    """Air around the field changes no correlation."""
    donor = animal(rng)
    rows, columns = (np.flatnonzero(donor.enhanced.any(axis=a)) for a in ((0, 2), (0, 1)))
    tight = donor.enhanced[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    bare, aired = (
        place_stack(np.pad(tight, ((0, 0), (w, w), (w, w))), POSITIONS, donor) for w in (0, 5)
    )
    np.testing.assert_allclose(bare.peaks, aired.peaks, rtol=1e-5)
    np.testing.assert_array_equal(bare.mask, aired.mask[:, 5:-5, 5:-5])


def test_a_mask_reaches_sixteen_pixels_beyond_the_head(rng):
    enhanced = np.zeros((9, 70, 64), np.float32)
    enhanced[:, 30:40, 27:37] = rng.random((9, 10, 10)) + 0.1
    donor = Donor(enhanced, np.ones(enhanced.shape, bool), POSITIONS)
    mask = place_stack(enhanced, POSITIONS, donor).mask
    expected = np.zeros(mask.shape[1:], bool)
    expected[30 - 16 : 40 + 16, 27 - 16 : 37 + 16] = True
    np.testing.assert_array_equal(mask, np.broadcast_to(expected, mask.shape))


def test_pixels_that_are_half_in_a_scaled_mask_are_in_it():
    """At four fifths of its size, every second pixel of a mask's edge lies between two."""
    enhanced = np.zeros((3, 41, 41), np.float32)
    enhanced[:, 6:35, 6:35] = 0.2
    for k in range(3):
        enhanced[k, 8:33:4, 8 + k : 33 - k] = 1
        enhanced[k, 8:33, [8 + k, 32 - k]] = 0.7
    mask = np.zeros(enhanced.shape, bool)
    mask[:, 8:33, 8:33] = True
    donor = Donor(enhanced, mask, np.arange(3.0))
    found = match_donors(transform(enhanced, 0.8, 0.0), np.arange(3.0), [donor], similarity=True)
    assert (found.scale, found.degrees) == (0.8, 0.0)
    scaled = transform(mask.astype(np.float32), 0.8, 0.0)
    assert (scaled == 0.5).any()
    np.testing.assert_array_equal(found.mask, scaled >= 0.5)
