import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.spatial.transform import Rotation

from secondglance.simulation.atlas import read_maps
from secondglance.simulation.diffusion import draw_motion, simulate_dwi
from secondglance.simulation.head_volume import (
    SHAPE,
    HeadVolume,
    oblique_affine,
    simulate_head,
)

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
    maps, small = read_maps(), (32, 32, 20)
    one, again, other = (
        simulate_head(*maps, np.random.default_rng(seed), shape=small) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(again.labels, one.labels)
    assert (one.labels != other.labels).any()
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


def test_motion_is_from_a_volume_to_rest(rng):
    # A ball of water at a known place: its centre says by itself where a volume shows it
    affine = np.array([[0.4, 0.05, 0, -3], [-0.05, 0, 0.5, 2], [0, 0.4, 0.02, -5], [0, 0, 0, 1]])
    shape = (24, 26, 22)
    place = apply_affine(affine, [11, 13, 10])
    world = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    ball = np.exp(-((world - place) ** 2).sum(-1) / 2 / 0.9**2).astype(np.float32)
    fibres = np.zeros((3, *shape), np.float32)
    head = HeadVolume(affine, np.zeros(shape, np.uint8), {'CSF': ball}, fibres)
    motion = draw_motion(4, rng, affine, mm=0.6, deg=4, shape=shape)
    series = scan(head, motion)
    texture = series[..., 0] / np.where(ball > 0, ball, 1)
    for matrix, volume in zip(motion, np.moveaxis(series, -1, 0), strict=True):
        weight = (volume / texture.mean())[..., None]
        centre = (weight * world).sum((0, 1, 2)) / weight.sum()
        np.testing.assert_allclose(matrix[:3, :3] @ centre + matrix[:3, 3], place, atol=0.06)


def test_a_turned_head_meets_the_gradients_from_elsewhere():
    shape = (9, 9, 9)
    fibres = np.zeros((3, *shape), np.float32)
    fibres[0] = 1
    part = {'WM': np.ones(shape, np.float32)}
    head = HeadVolume(np.eye(4), np.ones(shape, np.uint8), part, fibres)
    quarter = np.array([[0.0, -1, 0, 8], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    weighted = scan(head, np.stack([np.eye(4), quarter]), b=1000.0)[4, 4, 4]
    plain = scan(head, np.stack([np.eye(4), quarter]))[4, 4, 4]
    # D = 0.7e-3 mm²/s, 1 + 0.6 of it along the fibres and 1 - 0.3 of it across
    np.testing.assert_allclose(weighted / plain, np.exp([-0.7 * 1.6, -0.7 * 0.7]), rtol=1e-4)


def test_every_brain_is_covered_by_a_head(heads):
    for head in heads:
        gap = ndimage.distance_transform_edt(~head.brain_mask, sampling=(0.375, 0.375, 0.5))
        filled = sum(head.fractions.values())[(gap > 0) & (gap < 1.8)]
        # Fasciae are dark, but never as empty as air
        assert (filled > 0.3).mean() > 0.99


def test_eyes_lie_in_front_and_outside_the_brain(heads):
    for head in heads:
        eyes = np.argwhere(head.fractions['eye'] > 0.5)
        brain = np.argwhere(head.brain_mask)
        assert len(eyes) > 50
        towards_anterior = head.affine[1, :3]
        assert (eyes @ towards_anterior).min() > np.median(brain @ towards_anterior)
        assert not head.brain_mask[tuple(eyes.T)].any()


def test_parts_of_a_voxel_make_no_more_than_one(heads):
    for head in heads:
        assert all(part.min() >= 0 for part in head.fractions.values())
        assert sum(head.fractions.values()).max() <= 1 + 1e-5


def test_an_atlas_without_skull_does():
    maps, affine = read_maps()
    bare = {name: voxels for name, voxels in maps.items() if name != 'skull'}
    head = simulate_head(bare, affine, np.random.default_rng(1), shape=(32, 32, 20))
    assert head.brain_mask.any()
    assert head.fractions['skull'].max() == 0


@pytest.mark.parametrize('degrees', [30, -30])
def test_gradients_turn_with_the_head_by_thirty_degrees(degrees):
    """White matter with fibres 30° from x, in a head that is turned by as much about z."""
    shape, turn = (12, 12, 6), np.radians(30)
    one, none = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    fractions = dict.fromkeys(('GM', 'CSF', 'skull', 'muscle', 'skin', 'eye', 'lens'), none)
    fibres = np.array([np.cos(turn), np.sin(turn), 0])[:, None, None, None] * one
    head = HeadVolume(np.eye(4), np.ones(shape, np.uint8), {'WM': one, **fractions}, fibres)
    angle = np.radians(degrees)
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    middle = (np.array(shape) - 1) / 2
    motion[:3, 3] = middle - motion[:3, :3] @ middle
    plain, weighted = (scan(head, motion[None], b=b)[..., 0] for b in (0.0, 1000.0))
    # The direction x lies at +30° or −30° in the head: along the fibres, or 60° from them
    along = 1.0 if degrees > 0 else np.cos(np.radians(60)) ** 2
    diffusivity = 0.7e-3 * (1 + 0.6 * (1.5 * along - 0.5))
    np.testing.assert_allclose(
        (weighted / plain)[3:-3, 3:-3], np.exp(-1000 * diffusivity), rtol=0.01
    )


def test_a_voxel_of_two_fifths_tissue_is_brain(heads):
    for head in heads:
        tissue = sum(head.fractions[name] for name in ('WM', 'GM', 'CSF'))
        pieces, _ = ndimage.label(tissue > 1 / 3)
        largest = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
        np.testing.assert_array_equal(head.brain_mask, largest)
        partly = largest & (tissue > 0.36) & (tissue < 0.44)
        assert partly.sum() > 20
        classes = np.stack([head.fractions[name] for name in ('WM', 'GM', 'CSF')])
        np.testing.assert_array_equal(
            head.labels[partly], 1 + classes.argmax(axis=0).astype(np.uint8)[partly]
        )


@pytest.mark.parametrize('snr', [10.0, 30.0])
def test_noise_is_what_grey_matter_is_divided_by(snr):
    shape = (24, 24, 12)
    one, none = np.ones(shape, np.float32), np.zeros((3, 24, 24, 12), np.float32)
    head = HeadVolume(np.eye(4), np.full(shape, 2, np.uint8), {'GM': one}, none)
    noisy, clean = (scan(head, snr=value)[..., 0] for value in (snr, 1e9))
    assert clean.mean() == pytest.approx(1000, rel=0.02)
    # The field and the texture are the same
    assert (noisy - clean).std() == pytest.approx(1000 / snr, rel=0.03)


def test_a_coil_shades_what_it_sees_and_stays_where_it_is():
    shape = (24, 24, 12)
    one, none = np.ones(shape, np.float32), np.zeros((3, 24, 24, 12), np.float32)
    head = HeadVolume(np.eye(4), np.full(shape, 2, np.uint8), {'GM': one}, none)
    turned = np.diag([-1.0, -1, 1, 1])
    turned[:2, 3] = 23
    motion = np.stack([np.eye(4), turned])
    shaded, plain = (scan(head, motion, bias=bias) for bias in (0.3, 0.0))
    field = shaded / plain
    assert np.log(field).std() == pytest.approx(0.3, abs=0.1)
    # The head was turned by half a turn; its coil was not
    np.testing.assert_allclose(field[..., 1], field[..., 0], rtol=1e-3)


def test_motion_is_drawn_in_millimetres_and_degrees(rng):
    motion = draw_motion(400, rng, np.eye(4), mm=0.25, deg=0.6)
    turns = Rotation.from_matrix(motion[1:, :3, :3]).as_euler('xyz', degrees=True)
    np.testing.assert_allclose(turns.std(axis=0), 0.6, rtol=0.15)
    middle = (np.array(SHAPE) - 1) / 2
    moved = motion[1:, :3, :3] @ middle + motion[1:, :3, 3] - middle
    np.testing.assert_allclose(moved.std(axis=0), 0.25, rtol=0.15)


@pytest.mark.slow
def test_eyes_lie_where_they_are_put(heads):
    eyes = {'eye': (5.0, 11.2, 0.5, 2.6), 'lens': (5.5, 11.6, 0.5, 1.6)}
    near = simulate_head(*read_maps(), np.random.default_rng(1), eyes=eyes)
    apart = []
    for head in (heads[0], near):
        ball = np.argwhere(head.fractions['eye'] + head.fractions['lens'] > 0.5)
        across = np.abs((ball[:, 0] - (SHAPE[0] - 1) / 2) * 0.375)
        apart.append(across.mean())
        assert not head.brain_mask[tuple(ball.T)].any()
    # 7.6 and 5 mm from the middle; heads are up to a quarter larger or smaller
    assert apart == pytest.approx([7.6, 5.0], rel=0.27)
    assert apart[1] / apart[0] == pytest.approx(5.0 / 7.6, rel=0.05)
    np.testing.assert_array_equal(near.labels, heads[0].labels)


def test_muscle_may_move_against_the_skull(heads):
    aside = np.tile(np.eye(4), (2, 1, 1))
    aside[1, 0, 3] = 1.0
    rest, moved = np.moveaxis(scan(heads[0], np.tile(np.eye(4), (2, 1, 1)), muscle=aside), -1, 0)
    assert np.abs(moved - rest).max() > 200
    deep = ndimage.binary_erosion(heads[0].labels > 0, iterations=4)
    assert np.percentile(np.abs(moved - rest)[deep], 95) < 1


def test_the_ghost_lies_along_the_phase_encoding():
    """Half a field of view away along the second axis."""
    parts = dict.fromkeys(('WM', 'CSF', 'skull', 'muscle', 'skin', 'eye', 'lens'), 0)
    shape = (12, 16, 4)
    parts = {name: np.zeros(shape, np.float32) for name in parts}
    parts['GM'] = np.zeros(shape, np.float32)
    parts['GM'][5, 3, 2] = 1
    head = HeadVolume(np.eye(4), np.zeros(shape, np.uint8), parts, np.ones((3, *shape)) / 3**0.5)
    image = scan(head, ghost=0.1)[..., 0]
    found = np.argwhere(image > 0.05 * image.max())
    assert found.tolist() == [[5, 3, 2], [5, 11, 2]]


def test_a_crumb_beside_the_brain_is_no_tissue():
    """Grey matter of 6 mm, and a cube of 2 mm that lies 3 mm beside it."""
    shape, affine = (32, 32, 24), np.diag([0.75, 0.75, 1.0, 1.0])
    affine[:3, 3] = [-12, -12, -12]
    grey = np.zeros(shape, np.float32)
    grey[6:14, 12:20, 9:15] = 1
    grey[18:21, 14:17, 11:13] = 1
    maps = {'wm': 0 * grey, 'gm': grey, 'csf': 0 * grey}
    head = simulate_head(maps, affine, np.random.default_rng(0), affine, shape)
    _, pieces = ndimage.label(head.fractions['GM'] > 0.5)
    assert pieces == 2
    _, pieces = ndimage.label(head.labels)
    assert pieces == 1
    assert head.brain_mask.sum() == pytest.approx(8 * 8 * 6, rel=0.4)


def test_a_stack_is_tilted_by_a_few_degrees_about_the_origin():
    """Its axes run to the right, up and back; its middle lies within 4 mm of the origin."""
    for seed in range(20):
        affine = oblique_affine(np.random.default_rng(seed))
        np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), [0.375, 0.375, 0.5])
        cosines = (affine[:3, :3] / [0.375, 0.375, 0.5]) * [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
        # Three turns of up to 8°
        assert cosines.sum(axis=0).min() > np.cos(np.radians(8)) ** 2 - 0.03
        middle = apply_affine(affine, (np.array(SHAPE) - 1) / 2)
        assert np.abs(middle).max() <= 4
