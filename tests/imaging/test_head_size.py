"""Size of heads and brains, by bodies of known size."""

import numpy as np
import pytest

from secondglance.imaging.head_size import head_size, header_scale, species_of_brain


def ellipsoid(half_mm, sizes, shape=(60, 30, 50)):
    grid = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    return ((grid * sizes / half_mm) ** 2).sum(axis=-1) < 1


@pytest.mark.parametrize(
    ('across', 'up', 'species'), [(5.5, 4.2, 'mouse'), (7.4, 4.8, 'rat'), (4.9, 4.9, 'mouse')]
)
def test_the_largest_section_tells_the_species(across, up, species):
    """Sections of pi × across × up: 73, 112 and 75 mm²; their mean is two thirds of it."""
    sizes = np.array([0.3, 0.8, 0.25])
    brain = ellipsoid(np.array([across, 10, up]), sizes)
    assert species_of_brain(brain, np.diag([*sizes, 1])) == species
    # However the volume lies on disk
    turned = np.moveaxis(brain, 1, 0)
    affine = np.zeros((4, 4))
    affine[1, 0], affine[0, 1], affine[2, 2], affine[3, 3] = -0.8, 0.3, -0.25, 1
    assert species_of_brain(turned, affine) == species


def test_width_and_sides_are_those_of_the_head_and_not_of_noise(rng):
    sizes = np.array([0.3, 0.8, 0.25])
    head = ellipsoid(np.array([8.0, 9.6, 6.0]), sizes, (80, 30, 70))
    image = np.where(head, 100.0, 0) + rng.rayleigh(4, head.shape)
    found = head_size(image, sizes)
    # As wide as the circle of its largest section
    assert found.width == pytest.approx(2 * np.sqrt(8 * 6), rel=0.04)
    np.testing.assert_allclose(found.sides, [16, 19.2, 12], rtol=0.12)
    assert not found.distorted
    # The bright part of a slice far from the head's is no head
    assert head_size(image, 10 * sizes).width == pytest.approx(10 * found.width)


@pytest.mark.parametrize(('sizes', 'distorted'), [((1, 1, 1), False), ((1, 1, 5), True)])
def test_a_head_five_times_as_long_as_wide_is_distorted(sizes, distorted):
    head = np.zeros((24, 24, 24))
    head[4:20, 4:20, 4:20] = 100
    assert head_size(head, sizes).distorted == distorted


@pytest.mark.parametrize(
    ('width', 'field', 'scale'),
    [
        *((22, 30, 1), (8, 12, 1), (50, 60, 1), (220, 300, 10), (2, 2.5, 0.1)),
        # Heads are 3.5 to 40 mm wide, or, in a field of at most 100 mm, up to 60 mm
        *((3.6, 5, 1), (3.4, 5, 0.1), (39.7, 120, 1), (40.3, 120, 10)),
        *((59.5, 80, 1), (60.5, 80, 10), (50, 99.5, 1), (50, 100.5, 10)),
        # What is nearest to 20 mm, as a ratio: 62 or 6.2, 65 or 6.5 mm
        *((620, 800, 10), (645, 800, 100), (0.62, 1, 0.01), (0.645, 1, 0.1)),
    ],
)
def test_headers_are_judged_by_the_width_of_the_head(width, field, scale):
    assert header_scale(width, field) == pytest.approx(scale)
    assert header_scale(0, field) == 1


def test_where_nothing_is_bright_there_is_no_head():
    found = head_size(np.zeros((6, 7, 5)), (0.5, 0.5, 1.0))
    assert (found.width, found.sides, found.distorted) == (0, (0, 0, 0), False)


def test_a_head_is_as_long_as_the_slices_that_show_it():
    volume = np.zeros((40, 40, 60))
    volume[10:30, 12:28, 20:50] = 100
    found = head_size(volume, (0.5, 0.5, 0.6))
    np.testing.assert_allclose(found.sides, [10, 8, 18], atol=2.0)
