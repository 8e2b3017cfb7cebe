"""The steps of a slice, as drawn."""

import base64
import re
from dataclasses import replace
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from secondglance.reports.steps import (
    MOST_SLICES_SHOWN,
    draw_slice,
    outline,
    slice_steps,
    slices_shown,
)

SVG = '{http://www.w3.org/2000/svg}'


@pytest.fixture
def placed(data, rng):
    """One pixel of saliency in each slice, and a kernel that is the same, in another place."""
    enhanced = np.zeros((5, 40, 30))
    enhanced[:, 25, 9] = 1
    image = 1 + rng.random(enhanced.shape)
    mask = np.zeros(enhanced.shape, bool)
    mask[1:, 20:30, 5:15] = True
    kernels = np.zeros((5, 2, 33, 33))
    kernels[1:, 0, 16, 16] = 1
    kernels[1:, 1, 12:20, 12:20] = 1
    blank = dict.fromkeys(('first_labels', 'labels'), mask.astype(int))
    return replace(
        data,
        image=image,
        saliency=rng.normal(size=enhanced.shape),
        enhanced=enhanced,
        mask=mask,
        placed=np.roll(mask, 2, axis=1),
        kernels=kernels,
        spacing=(0.5, 0.25),
        **blank,
    )


def _row(n, found=(2.5, -1.5), shift=(2.5, -1.5), **more):
    names = ('found_x_mm', 'found_y_mm', 'shift_x_mm', 'shift_y_mm')
    return {
        'slice': n, 'donor_slice': 3, 'peak': 0.5, 'peak_ratio': 1.4, 'agreement': 0.9,
        **dict(zip(names, (*found, *shift), strict=True)), **more,
    }  # fmt: skip


def test_outline_encloses_the_pixels_of_a_mask(rng):
    """Along each row, pixels between an odd and an even number of upright edges are inside."""
    mask = rng.random((7, 9)) > 0.5
    upright = np.zeros((7, 10), int)
    for x, y, length in re.findall(r'M(\d+) (\d+)v(\d+)', outline(mask)):
        upright[int(y) : int(y) + int(length), int(x)] += 1
    np.testing.assert_array_equal(upright.cumsum(1)[:, :-1] % 2 == 1, mask)


def test_peak_is_marked_where_the_surface_is_brightest(placed):
    """The kernel's pixel is in the middle of a frame of 33, 0.5 and 0.25 mm a pixel."""
    [one] = [s for s in slice_steps(replace(placed, placement=[_row(2)])) if s.number == 2]
    svg = ElementTree.fromstring(one.surface)
    width, height = (float(value) for value in svg.get('viewBox').split()[2:])
    ring = svg.find(f'{SVG}circle')
    across, down = float(ring.get('cx')), float(ring.get('cy'))
    assert 0 < across < width
    assert 0 < down < height
    source = svg.find(f'{SVG}image').get('href').partition(',')[2]
    with Image.open(BytesIO(base64.b64decode(source))) as picture:
        shown = np.asarray(picture.convert('L'))
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    assert shown.max() > 2 * np.percentile(shown, 99)
    assert across == pytest.approx(column + 0.5, abs=0.1)
    assert down == pytest.approx((row + 0.5) * height / shown.shape[0], abs=0.1)
    [found] = re.findall(r'M([\d.]+) ([\d.]+)h5', one.surface)
    assert float(found[0]) + 7 == pytest.approx(across, abs=0.2)
    assert float(found[1]) == pytest.approx(down, abs=0.2)
    [moved] = [
        s for s in slice_steps(replace(placed, placement=[_row(2, shift=(4.5, -1.0))]))
        if s.number == 2
    ]  # fmt: skip
    ring = ElementTree.fromstring(moved.surface).find(f'{SVG}circle')
    # 2 mm right are 4 pixels, 0.5 mm up are 2
    assert float(ring.get('cx')) - across == pytest.approx(4, abs=0.11)
    assert down - float(ring.get('cy')) == pytest.approx(2, abs=0.11)


def test_a_slice_that_the_donor_does_not_reach_says_so(placed):
    mask = placed.mask.copy()
    mask[0] = mask[1]
    first, second = slice_steps(replace(placed, mask=mask, placement=[_row(0), _row(1)]))[:2]
    assert first.number == 0
    assert not first.kernel
    assert not first.surface
    assert 'does not reach' in first.words
    assert second.kernel
    assert 'peak 0.50 at 2.5, -1.5 mm' in second.words


def test_a_shift_that_was_replaced_is_told_with_the_one_that_was_taken(placed):
    rows = [_row(2, shift=(4.5, -1.0), replaced=True), _row(3)]
    words = {one.number: one.words for one in slice_steps(replace(placed, placement=rows))}
    assert '2.5, -1.5 mm' in words[2]
    assert 'an outlier, replaced by 4.5, -1.0 mm. Dice' in words[2]
    assert 'outlier' not in words[3]


def test_a_kernel_is_cut_out_with_a_margin_that_ends_with_its_frame(placed):
    """Across it fills pixels 4 to 9, upwards 8 to 17, of 33; six more on each side."""
    kernels = np.zeros((5, 2, 33, 33))
    kernels[:, 1, 4:10, 8:18] = 1
    [one] = [s for s in slice_steps(replace(placed, kernels=kernels)) if s.number == 2]
    box = ElementTree.fromstring(one.kernel).get('viewBox').split()
    width, height = 10 + 6, 10 + 12
    assert [float(value) for value in box] == pytest.approx([0, 0, width, height * placed.aspect])


def test_an_outline_lies_on_what_is_bright_dorsal_up():
    mask = np.zeros((5, 4), bool)
    mask[3, 0] = True
    svg = draw_slice(np.zeros((5, 4, 3), np.uint8), 1.0, {'final mask': mask}, '')
    [path] = ElementTree.fromstring(svg).findall(f'{SVG}path')
    # The fourth column from the left, the lowest of four rows
    found = np.array([[int(n) for n in xy] for xy in re.findall(r'M(\d+) (\d+)', path.get('d'))])
    assert found.min(axis=0).tolist() == [3, 3]
    assert found.max(axis=0).tolist() == [4, 4]


def test_outlines_are_of_all_masks_there_are(placed):
    for reference, count in ((None, 2), (placed.mask.astype(int), 3)):
        for one in slice_steps(replace(placed, reference=reference)):
            svg = ElementTree.fromstring(one.masks)
            assert len(svg.findall(f'{SVG}path')) == count


def test_histograms_tell_rim_and_head_apart(placed):
    saliency = np.full(placed.image.shape, 0.01) * placed.image
    rim = placed.mask & ~np.roll(placed.mask, 1, axis=1)
    saliency[rim] *= 50
    for one in slice_steps(replace(placed, saliency=saliency)):
        words = ElementTree.fromstring(one.histograms[2]).get('aria-label')
        everywhere, on_rim = map(float, re.findall(r'(?:median|mask) (-?[\d.]+)', words))
        assert on_rim > everywhere
        assert len(one.histograms) == 4


def test_pixels_of_the_head_and_of_the_rim_are_counted_in_the_same_bins(placed):
    """What is brightest lies deep in the mask here."""
    saliency = placed.image.copy()
    saliency[:, 24:26, 9:11] *= 50
    for one in slice_steps(replace(placed, saliency=saliency))[1:]:
        areas = ElementTree.fromstring(one.histograms[0]).iter(f'{SVG}path')
        edges = {p.get('class'): re.findall(r'[MH]([\d.]+)', p.get('d')) for p in areas}
        assert edges['area c0'] == edges['area c1']


def test_odd_slices_have_steps_too(placed):
    blank = replace(placed, saliency=np.zeros(placed.image.shape), mask=placed.mask & False)
    steps = slice_steps(blank)
    assert len(steps) == 5
    assert all(one.histograms == [] for one in steps)
    assert slice_steps(replace(placed, kernels=None)) == []


def test_many_slices_are_thinned_and_the_largest_stays():
    mask = np.zeros((100, 8, 8), bool)
    mask[10:90, 2:5, 2:5] = True
    mask[38, 1:7, 1:7] = True
    shown = slices_shown(mask)
    assert len(shown) == len(set(shown)) == MOST_SLICES_SHOWN
    assert shown == sorted(shown)
    # Between two of those at equal distances
    assert 38 in shown
    assert (shown[0], shown[-1]) == (10, 89)
