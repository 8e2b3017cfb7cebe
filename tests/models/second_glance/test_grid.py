"""The brain's own grid does not depend on the field of view."""

import numpy as np
import pytest

from secondglance.imaging.errors import InputError
from secondglance.models.second_glance.grid import brain_grid


@pytest.fixture
def stack():
    """A smooth image and an off-centre mask of 4 slices of 41 by 33 pixels."""
    x, z = np.mgrid[:41, :33]
    image = np.sin(x / 6) + np.cos(z / 5) + 2
    mask = ((x - 18) / 10) ** 2 + ((z - 17) / 8) ** 2 < 1
    return np.stack([image * k for k in (1, 2, 3, 4)]), np.stack([mask] * 4)


def test_crop_of_the_field_of_view_changes_nothing(stack):
    image, mask = stack
    whole = brain_grid(mask, 0.25, 'rat')
    cut = np.s_[:, 3:38, 2:31]
    part = brain_grid(mask[cut], 0.25, 'rat')
    assert part.shape == whole.shape
    inside = whole.to_grid(mask) > 0
    assert np.allclose(whole.to_grid(image)[inside], part.to_grid(image[cut])[inside], atol=1e-5)


def test_there_and_back_keeps_a_smooth_image(stack):
    image, mask = stack
    grid = brain_grid(mask, 0.25, 'rat')
    back = grid.to_stack(grid.to_grid(image))
    assert np.abs(back - image)[mask].max() < 0.02


def test_linear_ramp_is_kept_exactly(stack):
    _, mask = stack
    grid = brain_grid(mask, 0.25, 'rat')
    ramp = np.broadcast_to(np.arange(41.0)[:, None], (4, 41, 33))
    rows = grid.centre[0] + grid.offsets_mm(0) / 0.25
    inside = (rows > 2) & (rows < 38)
    for linear in (True, False):
        found = grid.to_grid(ramp, linear=linear)[0][inside]
        assert np.allclose(found, rows[inside, None], atol=1e-4) or grid.shape[1] > 33


def test_a_mouse_is_seen_with_smaller_pixels(stack):
    _, mask = stack
    assert brain_grid(mask, 0.16, 'mouse').spacing_mm == pytest.approx(0.13)


def test_height_and_width_are_multiples_of_the_stride(stack):
    _, mask = stack
    assert all(n % 16 == 0 for n in brain_grid(mask, 0.25, 'rat').shape)


def test_the_network_pools_the_same_pixels_however_far_the_mask_reaches(stack):
    """A thin spike of the mask, which hardly moves its centroid, moves no pixel."""
    _, mask = stack
    spiked = mask.copy()
    spiked[0, 18, 25:31] = True
    whole, more = (brain_grid(m, 0.25, 'rat') for m in (mask, spiked))
    assert whole.shape != more.shape
    assert all(start % 16 == 0 for grid in (whole, more) for start in grid.start)


def test_empty_mask_is_refused(stack):
    with pytest.raises(InputError, match='mask is empty'):
        brain_grid(np.zeros((2, 5, 5)), 0.25, 'rat')


def test_a_constant_is_constant_on_the_grid_and_zero_beyond_the_stack(stack):
    _, mask = stack
    for spacing, species in ((0.05, 'rat'), (0.25, 'rat'), (0.16, 'mouse')):
        grid = brain_grid(mask, spacing, species)
        found = grid.to_grid(np.full(mask.shape, 5.0))
        rows, columns = (grid.centre[a] + grid.offsets_mm(a) / spacing for a in (0, 1))
        inside = ((rows >= -0.5) & (rows <= 40.5))[:, None] & (
            (columns >= -0.5) & (columns <= 32.5)
        )
        assert np.allclose(found[:, inside], 5, atol=1e-4)
        assert not found[:, ~inside].any()


def test_going_coarser_averages(stack):
    """Stripes of one pixel vanish on a grid four times as coarse, there and back."""
    _, mask = stack
    grid = brain_grid(mask, 0.05, 'rat')
    stripes = np.broadcast_to(np.arange(41)[:, None] % 2, mask.shape)
    rows = grid.centre[0] + grid.offsets_mm(0) / 0.05
    inside = (rows > 8) & (rows < 32)
    columns = grid.centre[1] + grid.offsets_mm(1) / 0.05
    part = grid.to_grid(stripes)[:, inside][..., (columns > 0) & (columns < 32)]
    assert np.allclose(part, 0.5, atol=0.05)
    coarse = brain_grid(mask, 0.8, 'rat')
    fine = np.broadcast_to(np.arange(coarse.shape[0])[:, None] % 2, (4, *coarse.shape))
    back = coarse.to_stack(fine)
    where = (np.arange(41) - coarse.centre[0]) * 4 - coarse.start[0]
    inside = (where > 10) & (where < coarse.shape[0] - 10)
    assert np.allclose(back[:, inside], 0.5, atol=0.05)


@pytest.mark.parametrize(('species', 'scale'), [('rat', 1.0), ('mouse', 0.65)])
def test_the_margin_is_in_millimetres_of_the_species(stack, species, scale):
    _, mask = stack
    grid = brain_grid(mask, 0.25 * scale, species, stride=1)
    for axis in (0, 1):
        held = np.flatnonzero(mask.any(axis=(0, 2 - axis)))
        reach = (held[[0, -1]] - grid.centre[axis]) * 0.25 * scale + [-0.6 * scale, 0.6 * scale]
        ends = grid.offsets_mm(axis)[[0, -1]]
        assert np.all(np.abs(ends - reach) <= 0.2 * scale + 1e-9)
        assert ends[0] <= reach[0]
        assert ends[1] >= reach[1]


def test_the_grid_is_centred_on_the_mass_of_the_mask():
    mask = np.zeros((2, 30, 30), bool)
    mask[:, 5:15, 10:20] = True
    mask[0, 20, 15] = True
    grid = brain_grid(mask, 0.25, 'rat')
    assert grid.centre[0] == pytest.approx((200 * 9.5 + 20) / 201)


def test_cubic_weights_are_those_of_keys():
    """Halfway between pixels: −1/16, 9/16, 9/16, −1/16."""
    mask = np.zeros((1, 9, 9), bool)
    mask[0, 2:6, 2:6] = True  # its middle lies between pixels, at 3.5
    image = np.zeros((1, 9, 9))
    image[0, :, 3] = image[0, :, 4] = 16
    image[0, :, 5] = 32
    grid = brain_grid(mask, 0.2, 'rat')
    [column] = np.flatnonzero(grid.offsets_mm(1) == 0)
    [row] = np.flatnonzero(grid.offsets_mm(0) == 0)
    assert grid.to_grid(image)[0, row, column] == pytest.approx(9 + 9 - 2, abs=1e-4)
    assert grid.to_grid(image, linear=True)[0, row, column] == pytest.approx(16, abs=1e-4)


@pytest.mark.parametrize('linear', [True, False])
def test_beyond_the_grid_the_values_at_its_edge_go_on(linear):
    mask = np.zeros((1, 200, 180), bool)
    mask[:, 90:110, 80:100] = True
    grid = brain_grid(mask, 0.15, 'rat')
    rows, columns = np.indices(grid.shape, dtype=float)
    for values, axis in ((rows, 0), (columns, 1)):
        found = grid.to_stack(values[None], linear=linear)[0]
        along = found[:, 90] if axis == 0 else found[100]
        assert along[0] == pytest.approx(0, abs=1e-4)
        assert along[-1] == pytest.approx(grid.shape[axis] - 1, abs=1e-4)
        assert (np.diff(along) >= -1e-4).all()


def test_the_stack_reaches_half_a_pixel_beyond_its_outermost_pixels():
    """Of 8 rows the middle is between two, and so is every pixel of a grid as fine."""
    mask = np.ones((1, 8, 8), bool)
    grid = brain_grid(mask, 0.2, 'rat')
    where = grid.centre[0] + grid.offsets_mm(0) / 0.2
    assert {-0.5, 7.5, -1.5, 8.5} <= set(where.round(9))
    shown = grid.to_grid(np.ones((1, 8, 8)))[0, :, np.abs(where - 3.5).argmin()]
    np.testing.assert_allclose(shown, (where >= -0.5) & (where <= 7.5), atol=1e-6)
