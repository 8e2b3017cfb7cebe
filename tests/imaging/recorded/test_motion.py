"""Motion of a series, its registration and its gradients, by numbers that were recorded."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from secondglance.imaging.diffusion import leave_out_empty, rotate_bvecs, select_b0
from secondglance.imaging.motion import (
    estimate_motion,
    framewise_displacement,
    itk_text,
    looks_like_noise,
    motion_parameters,
    moved_most,
    pull_to_world,
    resample_motion,
    residual_displacement,
    typical_volume,
    unlike_mean,
    within_volume_motion,
    world_to_pull,
)
from secondglance.imaging.motion_correction import (
    MotionEstimate,
    correct_motion,
    find_noise,
    motion_table,
)
from secondglance.imaging.registration import (
    FineModel,
    coarse_pull,
    head_centre,
    head_region,
    in_blocks,
    robust_step,
)
from secondglance.imaging.series_motion import as_contrast, nearest_known, series_motion, shells

SIZE = np.array([0.62, 0.54, 0.9])


@pytest.fixture(scope='module')
def affine(affine):
    """Of every second voxel in plane."""
    return affine @ np.diag([2, 2, 1, 1])


@pytest.fixture(scope='module')
def head(head):
    return head[::2, ::2]


@pytest.fixture(scope='module')
def labels(labels):
    return labels[::2, ::2]


def rigid(angles, shift, about=(0, 0, 0)):
    """Rigid motion about a point, by degrees and mm."""
    turn = Rotation.from_euler('xyz', angles, degrees=True).as_matrix()
    return from_matvec(turn, np.asarray(about) - turn @ about + shift)


@pytest.fixture(scope='module')
def matrices(affine):
    """Motion of six volumes, world mm; the third rests."""
    about = affine[:3, :3] @ [9, 13, 4] + affine[:3, 3]
    return np.stack(
        [
            rigid([1.5, -0.6, 0.9], [0.1, -0.2, 0.15], about),
            rigid([-0.7, 1.1, 2.0], [-0.15, 0.05, 0.1], about),
            np.eye(4),
            rigid([0.2, 0.3, -1.2], [0.05, 0.2, -0.1], about),
            rigid([0.9, -1.6, 0.4], [-0.1, -0.1, 0.2], about),
            rigid([-1.1, 0.5, -0.8], [0.2, 0.1, 0.05], about),
        ]
    )


@pytest.fixture(scope='module')
def series(head, affine, matrices):
    """The head six times, moved, with noise and gains of their own."""
    rng = np.random.default_rng(44)
    moved = resample_motion(np.stack([head] * 6, axis=-1), affine, np.linalg.inv(matrices))
    return moved * np.linspace(0.9, 1.15, 6) + rng.normal(0, 2, moved.shape)


@pytest.fixture(scope='module')
def region(labels):
    return labels > 0


def test_volumes_without_diffusion_weighting(recorded, said):
    series = np.zeros((2, 3, 2, 5))
    series[0, 1, 1, [0, 2]], series[..., 3] = 7, 4
    recorded(
        {
            'chosen': [
                select_b0(b, len(b), *more)
                for b, more in (
                    ([0, 50, 51, 1000], ()),
                    ([0, 50, 51, 1000], (51,)),
                    ([0, 50, 51, 1000], (1000, True)),
                    ([0, 0, 0], ()),
                    ([20, 21], ()),
                    ([5, 1e6], ()),
                    ([0, 15], (10.0,)),
                )
            ],
            'alone': select_b0(None, 1),
            'all': select_b0(None, 3, all_b0=True),
            'refused': [
                said(select_b0, *of)
                for of in (
                    (None, 2),
                    ([0, 1], 3),
                    ([0, np.nan], 2),
                    ([0, -1], 2),
                    ([0, 20], 2),
                    ([0, 0.9, 2.4], 3),
                    ([0, 1e6 + 1], 2),
                    ([60, 1000], 2),
                )
            ],
            'full': leave_out_empty(series, np.array([0, 1, 2, 3])),
            'empty': said(leave_out_empty, series, np.array([1, 4])),
        }
    )


def test_turned_gradients(recorded, affine, matrices):
    rng = np.random.default_rng(2)
    directions = rng.normal(size=(3, 6))
    directions[:, 2] = 0
    stretched = matrices @ np.diag([1.02, 0.97, 1.01, 1])
    recorded(
        {
            'one way': rotate_bvecs(directions, matrices, affine),
            'the other way': rotate_bvecs(directions, matrices, affine @ np.diag([1, -1, 1, 1])),
            'stretched': rotate_bvecs(directions, stretched, affine),
        }
    )


def test_measures_of_motion(recorded, affine, matrices, head, region):
    parameters = motion_parameters(matrices, [1.5, -2.0, 3.0])
    gaps = parameters.copy()
    gaps[3] = np.nan
    names = [f'{kind}_{a}' for kind in ('trans', 'rot') for a in 'xyz']
    rows = [
        {'volume': 2 * t, **dict(zip(names, row, strict=True))} for t, row in enumerate(parameters)
    ]
    lost = {'volume': 5, **dict.fromkeys(names)}
    recorded(
        {
            'parameters': parameters,
            'displacement': framewise_displacement(parameters, 7.0),
            'some': framewise_displacement(gaps, 5.0, [0, 1, 2, 3, 5, 6]),
            'residual': residual_displacement(
                matrices, matrices[::-1], np.argwhere(region)[::3] * SIZE
            ),
            'itk': itk_text(matrices[:2]).splitlines(),
            'itk, scaled': itk_text(matrices[1:], 10.0).splitlines()[3],
            'pull': world_to_pull(matrices[1], affine),
            'world': pull_to_world(matrices[1], affine),
            'most': moved_most([lost, *rows], 10.0),
            'most by shift': moved_most([lost, *rows], 0.1),
            'none': moved_most([lost], 10.0),
        },
        tolerance=1e-8,
    )


def test_noise_and_volumes_unlike_the_others(recorded, series, region):
    rng = np.random.default_rng(6)
    noise = rng.rayleigh(2, series.shape[:3])
    smooth = noise.copy()
    smooth[:, 1:] += 0.35 * noise[:, :-1]
    odd = series.copy()
    odd[..., 1] = noise
    odd[..., 4] = 0.3 * series[..., 4] + 70 * rng.random(series.shape[:3])
    recorded(
        {
            'noise': [
                looks_like_noise(v)
                for v in (noise, smooth, smooth[:, ::2], noise[..., :1], noise[0], 0 * noise)
            ],
            'one axis': looks_like_noise(np.arange(9.0).reshape(1, 9, 1)),
            'found': find_noise(odd),
            'all': find_noise(odd[..., [1, 1]]),
            'alone': find_noise(odd[..., [1]]),
            'typical': [typical_volume(v) for v in (series, odd, odd[..., [1, 4, 0, 5]])],
            'typical of two': typical_volume(series[..., 3:5]),
            'unlike': unlike_mean(odd),
            'unlike in a region': unlike_mean(odd, region),
            'of two': unlike_mean(odd[..., :2]),
            'nowhere': unlike_mean(odd, region & False),
        }
    )


def test_resampled_volumes(recorded, series, affine, matrices):
    recorded(
        {
            'moved': resample_motion(series[..., :3], affine, matrices[:3]),
            'by two': resample_motion(series[..., 1:4], affine, matrices[3:], 2),
        }
    )


def test_heads_for_registration(recorded, head, series, matrices):
    size, centre = SIZE, head_centre(head) * SIZE
    coarse = coarse_pull(series[..., 1], head, size, centre)
    recorded(
        {
            'centre': centre,
            'no head': head_centre(0 * head),
            'region': head_region(head),
            'coarse': coarse,
            'empty': coarse_pull(0 * head[:, :, :1], 0 * head[:, :, :1], size, centre),
        },
        tolerance=1e-4,
    )


@pytest.mark.parametrize(('most', 'odd'), [(1500, False), (1100, True)])
def test_fine_registration(recorded, head, series, region, most, odd):
    centre = head_centre(head) * SIZE
    start = rigid([0.5, 0.5, -0.5], [0.1, -0.1, 0.1], centre)
    whole = FineModel(head, SIZE, centre, most, odd=odd)
    within = FineModel(head, SIZE, centre, most, region, odd)
    tiny = FineModel(head, SIZE, centre, most, region & (np.indices(head.shape)[0] < 6), odd)
    slab = FineModel(head[..., :1], SIZE, centre, most, odd=odd)
    halves = series[..., 2].copy()
    halves[:, :, 4:] = np.roll(halves, 1, axis=0)[:, :, 4:]
    every = series[..., 2].copy()
    every[:, :, ::2] = np.roll(every, 1, axis=1)[:, :, ::2]
    recorded(
        {
            'columns': whole.columns,
            'points': whole.points,
            'scales': [whole.scale, whole.reach, within.scale, within.reach],
            'columns of a slab': slab.columns,
            'pulls': [whole.align(series[..., t], start) for t in (1, 3)],
            'pulls within': [within.align(series[..., t], np.eye(4)) for t in (0, 4)],
            'upside down': whole.align(-series[..., 1], start),
            'far': whole.align(series[..., 1], rigid([0, 0, 0], [0, 0, 30.0])),
            'none': whole.align(0 * head, start),
            'few voxels': tiny.align(series[..., 1], start),
            'parts': [
                [model.parts_moved(v, pull, axis) for axis in range(3)]
                for v in (halves, every)
                for model, pull in ((whole, np.eye(4)), (within, start))
            ],
            'few slices': whole.parts_moved(halves[..., :5], np.eye(4), 2),
        },
        tolerance=1e-6,
    )


def test_a_robust_step(recorded):
    rng = np.random.default_rng(17)
    columns = rng.normal(size=(4, 1300))
    values = columns.T @ [1, -2, 0.5, 3] + rng.normal(0, 0.1, 1300)
    values[::9] += 4
    inside = rng.random(1300) < 0.9
    blocks = in_blocks(columns)
    recorded(
        {
            'blocks': blocks,
            'full': in_blocks(np.arange(1024.0)),
            'step': robust_step(blocks, values, np.where(inside, rng.random(1300), 0), inside),
        }
    )


def test_motion_within_volumes(recorded, series, affine, matrices, region):
    torn = series.copy()
    torn[:, :, 4:, 0] = np.roll(torn[..., 0], 1, axis=1)[:, :, 4:]
    torn[:, :, ::2, 3] = np.roll(torn[..., 3], 1, axis=0)[:, :, ::2]
    keep = np.array([True, False, True, True, True, True])
    still = resample_motion(torn, affine, matrices)
    recorded(
        {
            'whole': within_volume_motion(torn, affine, matrices, 2),
            'region': within_volume_motion(
                torn, affine, matrices, 2, corrected=still, region=region, keep=keep, n_threads=2
            ),
            'few': within_volume_motion(
                torn, affine, matrices, 2, keep=keep & (torn[0, 0, 0] < 0)
            ),
        },
        # Processors without fused multiplication differ by a hundredth
        tolerance=2e-2,
    )


def test_estimated_motion(recorded, series, affine, matrices, region):
    start = matrices @ rigid([0.3, -0.2, 0.4], [0.05, -0.05, 0.1])
    mean = resample_motion(series, affine, matrices).mean(axis=3)
    recorded(
        {
            'four': estimate_motion(series[..., :4], affine),
            'two': estimate_motion(series[..., :2], affine, 1),
            'better': estimate_motion(
                series[..., 1:5], affine, 1, region=region, start=start[1:5], mean=mean
            ),
            'better without a mean': estimate_motion(
                series[..., 2:], affine, start=start[2:], n_threads=2
            ),
            'two better': estimate_motion(series[..., 1:3], affine, 0, start=start[1:3]),
            'one': estimate_motion(series[..., :1], affine),
        },
        tolerance=3e-5,
    )


def test_corrected_series(recorded, series, affine, matrices, region):
    asked = []

    def engine(shift=(0, 0, 0)):
        def find(volumes, known, where):
            asked.append([volumes.shape[3], known, where])
            if known is None:
                return MotionEstimate(matrices[: volumes.shape[3]], 2, 'one')
            return MotionEstimate(known.matrices @ rigid([0, 0, 0], shift), 2, 'two', known.mean)

        return find

    def brain(corrected):
        return region & (corrected[..., 0] > 100)

    odd = series.copy()
    odd[..., 4] = np.random.default_rng(1).rayleigh(20, odd.shape[:3])
    found = {}
    for name, shift, options in (
        ('near', [0.001, 0, 0], {}),
        ('far', [0.2, 0, 0.1], {'slice_axis': 'k', 'n_threads': 2}),
        ('not judged', [0.2, 0, 0.1], {'judge': False, 'slice_axis': 'j'}),
    ):
        done = correct_motion(odd, affine, engine(shift), brain, **options)
        told = motion_table(done, [0, 2, 3, 5, 6, 9], np.array([1.0, 2, 3]), {1: 'b', 7: 'empty'})
        found[name] = [done, told]
    none = correct_motion(series[..., :3], affine, engine(), lambda _: None)
    alone = correct_motion(series[..., :1], affine, engine(), brain)
    # For motion within volumes, as above
    recorded({**found, 'no brain': none, 'alone': alone, 'asked': asked}, tolerance=2e-2)


def test_shells_contrasts_and_neighbours_in_time(recorded, head, labels, matrices):
    b = [1000, 0, 2050, 1099, 950, 2151, 3000, 5, 1199]
    other = np.sqrt(np.abs(head)) * 9 + 2 * labels
    recorded(
        {
            'shells': shells(b, np.array(b) > 50),
            'none': shells(b, np.array(b) > 9000),
            'contrast': as_contrast(head, other, labels > 0),
            'few bins': as_contrast(head, other, head > 60, 5),
            'of few values': as_contrast(labels, head, head > 60),
            'known': nearest_known(8, [1, 4, 5], matrices[[0, 1, 3]]),
        }
    )


def test_motion_of_weighted_volumes(recorded, head, series, affine, matrices):
    weighted = np.concatenate([series[..., :2], 220 - 0.8 * series[..., 3:6]], axis=3)
    weighted = np.where(head[..., None] > 40, np.clip(weighted, 5, None), series[..., :5] / 9)
    weighted = np.concatenate([weighted, 0 * weighted[..., :2]], axis=3)
    groups = [np.array([2, 3]), np.array([4, 5]), np.array([6])]
    found = series_motion(weighted, affine, groups, [0, 1], matrices[:2], head)
    recorded({'motion': found}, tolerance=1e-4)
