import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy import ndimage

from secondglance.commands.simulate import read_maps
from secondglance.imaging.artefacts import (
    add_nyquist_ghost,
    add_rician_noise,
    bias_field,
    elastic_displacement,
)
from secondglance.imaging.simulation import draw_motion, simulate_dwi, simulate_head

STILL = np.eye(4)[None]


@pytest.fixture(scope='module')
def heads():
    maps = read_maps()
    return [simulate_head(*maps, np.random.default_rng(seed)) for seed in (1, 2)]


def scan(head, motion=STILL, b=0.0, **options):
    quiet = {'snr': 1e9, 'bias': 0.0, 'ghost': 0.0} | options
    n = len(motion)
    direction = np.tile([[1.0], [0], [0]], n)
    return simulate_dwi(head, np.random.default_rng(0), np.full(n, b), direction, motion, **quiet)


def test_a_seed_is_an_animal(heads):
    again = simulate_head(*read_maps(), np.random.default_rng(1))
    np.testing.assert_array_equal(again.labels, heads[0].labels)
    assert (heads[0].labels != heads[1].labels).mean() > 0.02


def test_brains_have_a_rats_volume(heads):
    for head in heads:
        assert 1200 < head.brain_mask.sum() * 0.375**2 * 0.5 < 3000


def test_there_is_a_head_around_the_brain(heads):
    image = scan(heads[0])[..., 0]
    shell = ndimage.binary_dilation(heads[0].brain_mask, iterations=2) & ~heads[0].brain_mask
    outside = ~ndimage.binary_dilation(heads[0].brain_mask, iterations=5)
    # A dark gap, and tissue beyond it
    assert np.median(image[shell]) < 0.6 * np.median(image[heads[0].brain_mask])
    assert (image[outside] > 300).sum() > 3000


def test_contrast_is_that_of_an_epi(heads):
    image = scan(heads[0])[..., 0]
    core = {name: image[heads[0].fractions[name] > 0.9].mean() for name in ('WM', 'GM', 'CSF')}
    assert core['CSF'] > 1.3 * core['GM']
    assert core['GM'] > 1.2 * core['WM']


def test_diffusion_weighting_darkens_csf_most(heads):
    plain, weighted = scan(heads[0])[..., 0], scan(heads[0], b=1000.0)[..., 0]
    left = {
        name: (weighted / plain)[heads[0].fractions[name] > 0.95].mean() for name in ('GM', 'CSF')
    }
    # exp(−b D): D = 0.75e-3 and 2.8e-3 mm²/s; voxels hold up to 5 % of something else
    assert left['GM'] == pytest.approx(np.exp(-0.75), abs=0.05)
    assert left['CSF'] == pytest.approx(np.exp(-2.8), abs=0.08)


def test_a_volume_shows_the_head_where_its_motion_says(heads):
    head = heads[0]
    motion = draw_motion(2, np.random.default_rng(3), head.affine, mm=0.8, deg=2)
    still, moved = np.moveaxis(scan(head, motion), -1, 0)
    # Independent of the simulator: the moved head's centre of mass is the still one's, moved
    weight = np.where(head.brain_mask, 1.0, 0)
    pull = np.linalg.inv(head.affine) @ motion[1] @ head.affine
    expected = ndimage.affine_transform(still, pull[:3, :3], pull[:3, 3], order=1)
    inside = ndimage.binary_erosion(weight > 0, iterations=2)
    assert np.corrcoef(moved[inside], expected[inside])[0, 1] > 0.97
    assert np.corrcoef(moved[inside], still[inside])[0, 1] < 0.95
    centre = apply_affine(head.affine, np.argwhere(inside)).mean(0)
    assert np.linalg.norm(apply_affine(motion[1], centre) - centre) > 0.3


def test_the_first_volume_is_at_rest():
    motion = draw_motion(4, np.random.default_rng(0), np.eye(4))
    np.testing.assert_array_equal(motion[0], np.eye(4))
    for matrix in motion:
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)


def test_bias_is_positive_smooth_and_of_mean_one(rng):
    field = bias_field((20, 24, 12), rng, 0.3)
    assert field.min() > 0
    assert field.mean() == pytest.approx(1, abs=1e-4)
    assert 0.05 < np.log(field).std() < 0.6
    assert np.abs(np.diff(field, axis=0)).max() < 0.3


def test_noise_in_air_is_rayleigh(rng):
    air = add_rician_noise(np.zeros(200_000), 2.0, rng)
    assert air.mean() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.01)


def test_ghost_lies_half_a_field_of_view_away():
    image = np.zeros((8, 6))
    image[1, 1] = 10
    ghost = add_nyquist_ghost(image, 0.1, axis=0)
    assert ghost[5, 1] == pytest.approx(1)
    assert ghost[1, 1] == 10


def test_displacement_has_its_amplitude(rng):
    field = elastic_displacement((20, 20, 20), rng, 0.5)
    assert field.shape == (3, 20, 20, 20)
    assert 0.2 < field.std() < 1
