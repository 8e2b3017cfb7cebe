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


def test_empty_mask_is_refused(stack):
    with pytest.raises(InputError, match='mask is empty'):
        brain_grid(np.zeros((2, 5, 5)), 0.25, 'rat')
