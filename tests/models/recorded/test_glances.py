"""The first glance, the brain mask and the pose of small heads, by numbers that were recorded."""

import numpy as np
import pytest
import torch

from secondglance.imaging.pose import HeadStack, Pose
from secondglance.models.brain_refinement import (
    logits_of,
    refine,
    refine_channels,
    refined_logits,
    refinement_channels,
)
from secondglance.models.brain_region import brain_region
from secondglance.models.choices import SaliencyOptions
from secondglance.models.inference import (
    background_alone,
    batches,
    each_batch,
    pad_to_stride,
    predict,
    slices_at_once,
    window_of_head,
)
from secondglance.models.pose import estimate_pose, fit_of_pose, middle_slices
from secondglance.models.segment import (
    brain_probability,
    find_brain,
    first_glance,
    gather_evidence,
    look_again,
    masked_second_glance,
    prepare_donor,
    remove_background,
)


@pytest.fixture(scope='module')
def wide(head):
    """Slices that are mostly air, one of them lost."""
    stack = np.random.default_rng(0).rayleigh(3, (3, 178, 204))
    stack[:, 88:118, 100:134] = head[0][1:4]
    stack[1] = 0
    return stack


def test_windows_and_batches(recorded, wide, head):
    # What is small beside the head does not matter, what is larger does
    crumb = np.random.default_rng(1).rayleigh(3, (2, 246, 275))
    crumb[:, 90:150, 105:173] = np.kron(head[0][2:4], np.ones((2, 2)))
    crumb[:, 5:7, 10:12] = 150
    island = crumb.copy()
    island[:, 5:14, 255:267] = 160
    starts = []
    each_batch(lambda part: starts.append([part.start, part.stop]), 7, 'cpu', 3)
    padded, inside = pad_to_stride(torch.arange(35.0).reshape(1, 5, 7), 4)
    recorded(
        {
            'windows': [
                [[part.start, part.stop] for part in window_of_head(stack, stride)]
                for stack in (
                    wide,
                    crumb,
                    island,
                    crumb[:, :200],
                    wide[..., 90:],
                    head[0],
                    0 * wide,
                )
                for stride in (4, 16)
            ],
            'padded': padded.numpy(),
            'inside': [[part.start, part.stop] for part in inside],
            'batches': [
                [[part.start, part.stop] for part in batches(*numbers, least=least)]
                for numbers in ((0, 3), (1, 3), (3, 2), (10, 4), (11, 3), (64, 9))
                for least in (1, 2, 7)
            ],
            'at once': [slices_at_once(*of) for of in (('cpu', (50, 60)), ('cuda', (9, 9)))],
            'starts': sorted(starts),
            'background': background_alone(3, (2, 4, 5)),
        }
    )


def test_first_glances(recorded, model, head, wide):
    recorded(
        {
            'whole': predict(model, head[0]),
            'few at once': predict(model, head[0], batch_size=2),
            'window': predict(model, wide),
            'saliency': first_glance(model, head[0]),
            'other options': first_glance(
                model, head[0], SaliencyOptions('gradient', 'GM', 2, 1.5, 0.7)
            ),
            'brain': brain_probability(predict(model, head[0]), head[0]),
            'kept': remove_background(head[0], np.linspace(0, 1, head[0].size).reshape(6, 30, 34)),
        },
        tolerance=1e-4,
    )


def test_channels_of_the_refinement(recorded, head):
    rng = np.random.default_rng(70)
    images, first, salient = (rng.random((6, 5, 7)) for _ in range(3))
    placed = rng.random((6, 5, 7)) > 0.5
    positions = np.array([-3.1, -2.0, -0.7, 0.2, 1.9, 2.5])
    of = images, first, salient, placed, positions
    recorded(
        {
            'all': refinement_channels(*of),
            'some': refinement_channels(*of, [4, 0]),
            'one': refinement_channels(*(values[2:3] for values in of)),
            'two': refinement_channels(*(values[2:4] for values in of), np.array([1])),
            'logits': logits_of(np.linspace(0, 1, 50)),
        }
    )


def test_refinements(recorded, refinement, head, wide):
    stack, brain = head
    rng = np.random.default_rng(71)
    first = np.clip(brain * 0.8 + rng.normal(0.1, 0.1, brain.shape), 0, 1)
    salient, placed = rng.random(brain.shape), np.roll(brain, (2, -1), axis=(1, 2))
    lost = stack.copy()
    lost[[1, 4]] = 7
    of = first, salient, placed
    positions = np.linspace(-2.6, 3.4, 6)
    cut = np.s_[:, 88:118, 100:134]
    far = [np.zeros(wide.shape) for _ in of]
    for one, values in zip(far, of, strict=True):
        one[cut] = values[1:4]
    channels = refinement_channels(stack / 200, *of, positions)
    recorded(
        {
            'whole': refine(refinement, stack, *of, positions),
            'lost': refine(refinement, lost, *of, positions, batch_size=2),
            'wide': refine(refinement, wide, *far, positions[:3]),
            'thin': refine(refinement, stack[:2], *(v[:2] for v in of), [0.5, 1.6]),
            'not thin': refine(refinement, stack[:3], *(v[:3] for v in of), [0.5, 1.35, 2.2]),
            'one': refine(refinement, stack[3:4], *(v[3:4] for v in of), [0.5]),
            'none': refine(refinement, 0 * stack, *of, positions),
            'channels': refine_channels(refinement.net, channels),
            'logits': refined_logits(refinement.net, torch.from_numpy(channels[..., :28, :32]))
            .detach()
            .numpy(),
        },
        tolerance=1e-4,
    )


def test_estimated_poses(recorded, model, scan, head):
    voxels, _, affine = scan
    voxels = voxels[:, 1:4]
    slim = affine @ np.diag([3.5, 1, 3.5, 1])
    turned = np.rot90(voxels, 1, (0, 2))
    noise = np.random.default_rng(1).rayleigh(3, voxels.shape)
    recorded(
        {
            'poses': [
                estimate_pose(model, volume, where, **options)
                for volume, where, options in (
                    (voxels, affine, {}),
                    (voxels, slim, {'quarter_turns': 3}),
                    (turned, affine, {'species': 'mouse', 'slice_axis': 'j'}),
                    (turned, affine, {'species': 'rat'}),
                    (noise, affine, {'quarter_turns': 1}),
                    (0 * voxels, affine, {'species': 'rat'}),
                )
            ],
            'told': estimate_pose(
                model, voxels, affine, species='mouse', quarter_turns=2, slice_axis='i'
            ),
            'fits': [
                fit_of_pose(model, np.rot90(head[0], k, (1, 2)), 0.2 + 0.1 * k, 'cpu')
                for k in range(4)
            ],
            'no fit': fit_of_pose(model, noise, 0.3, 'cpu'),
            'middle': [middle_slices(np.arange(n)) for n in (1, 2, 5, 9, 31, 100)],
        },
        tolerance=1e-4,
    )


@pytest.mark.parametrize('species', ['rat', 'mouse'])
def test_regions_of_brains(recorded, model, scan, species):
    voxels, _, affine = scan
    pose = Pose(species, 0.3, 'j')
    recorded(
        {
            'region': brain_region(model, voxels, affine, pose),
            'turned': brain_region(model, voxels, affine, Pose(species, 0.24, 'j', 2)),
            'too small': brain_region(model, voxels[:, :1], affine, pose),
        },
        pixels=2,
    )


def test_found_brains(recorded, model, refinement, head, other):
    subject = HeadStack(head[0].astype(np.float32), np.linspace(-2.5, 2.5, 6), 0.3)
    donors = [
        prepare_donor(model, HeadStack(stack, positions, 0.3, brain.astype(np.uint8)), animal=name)
        for name, (stack, brain), positions in (
            ('sub-a', (head[0][:5, ::-1], head[1][:5, ::-1]), np.linspace(-2, 1.9, 5)),
            ('sub-b', other, np.linspace(-3, 3.3, 7)),
        )
    ]
    two = HeadStack(subject.images[2:4], subject.positions[2:4], 0.3)
    first = first_glance(model, two.images)
    recorded(
        {
            'donors': donors,
            'evidence': gather_evidence(first, refinement, two, donors),
            'found': find_brain(model, refinement, subject, donors).brain,
            'scaled': find_brain(model, refinement, two, donors[1:], mask_method='similarity'),
            'options': find_brain(
                model,
                refinement,
                two,
                donors[:1],
                mask_method='correlation',
                options=SaliencyOptions('deconvnet', 'CSF', 0, 1.5, 0.7),
            ),
        },
        tolerance=1e-3,
        pixels=1,
    )


def test_second_looks(recorded, model, network, atlas, scan):
    voxels, brain, affine = scan
    pose = Pose('rat', 0.3, 'j', 1)
    grid = pose.grid(voxels.shape, affine)
    first = first_glance(model, grid.to_stack(voxels))
    small = brain & (np.arange(6)[:, None] == 2) & (np.arange(34) < 12)
    found = {
        kind: look_again(
            kind,
            voxels,
            mask,
            affine,
            pose,
            first=first,
            model=model,
            network=network,
            atlas=atlas,
        )
        for kind, mask in (('network', brain), ('masked', brain), ('none', brain))
    }
    found['small'] = look_again(
        'network', voxels, small, affine, pose, first=first, model=model, network=network
    )
    found['masked slices'] = masked_second_glance(model, grid.to_stack(voxels), grid, brain)
    recorded(found, tolerance=1e-3, pixels=2)
