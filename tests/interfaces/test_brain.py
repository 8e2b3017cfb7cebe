"""Interfaces from first glance to refined brain: they give what functions make of the stacks."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from secondglance.files.nifti_header import mark_scale
from secondglance.files.stacks import read_stack, write_stack
from secondglance.files.tables import write_tsv
from secondglance.imaging.enhancement import enhance
from secondglance.imaging.intensity import head_mask
from secondglance.imaging.lognormality import lognormal_fit
from secondglance.imaging.mask.cleaning import agreement
from secondglance.imaging.mask.quality import (
    EVIDENCE,
    SLICE_EVIDENCE,
    Calibration,
    MaskEvidence,
)
from secondglance.imaging.mask.selection import select_mask
from secondglance.imaging.pose import Pose
from secondglance.interfaces.brain import Refine, SelectMask
from secondglance.interfaces.saliency import Enhance, Saliency
from secondglance.interfaces.tissues import Predict
from secondglance.models.brain_refinement import refine
from secondglance.models.inference import predict
from secondglance.models.saliency.attribution import Smoothing, saliency_stack
from secondglance.models.segment import brain_probability
from secondglance.models.weights import (
    REFINEMENT,
    default_refinement,
    load_weights,
)

POSE = Pose('mouse', 0.25, 'k')


@pytest.fixture
def head(rng, tmp_path, monkeypatch):
    """A head of 40 × 34 × 4 voxels: its file, its stack, and the stack's file and affine."""
    monkeypatch.chdir(tmp_path)
    x, y, _ = np.indices((40, 34, 4)) - np.array([19, 17, 0])[:, None, None, None]
    voxels = rng.normal(20, 3, x.shape) + 200 * ((x / 15) ** 2 + (y / 12) ** 2 < 1)
    affine = np.diag([0.25, 0.25, 0.6, 1])
    affine[:3, 3] = -5, -4, -1
    path = tmp_path / 'head.nii'
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), path)
    grid = POSE.grid(voxels.shape, affine)
    stack = grid.to_stack(voxels)
    return path, stack, write_stack(stack, grid.affine, tmp_path / 'stack.nii'), grid


def test_saliency_is_of_the_options_that_are_asked_for(head, small_weights):
    _, stack, path, grid = head
    asked = {'method': 'gradient', 'target': 'GM', 'smooth': 2}
    found = Saliency(in_file=path, weights=str(small_weights), **asked).run().outputs
    expected = saliency_stack(
        load_weights(small_weights), stack, 'GM', 'gradient', smoothing=Smoothing(2)
    )
    for name, values in zip(('saliency', 'probabilities'), expected, strict=True):
        written, affine = read_stack(getattr(found, name))
        np.testing.assert_array_equal(written, values)
        np.testing.assert_allclose(affine, grid.affine, atol=1e-6)


def test_probabilities_are_those_of_the_network(head, small_weights):
    _, stack, path, grid = head
    found = Predict(in_file=path, weights=str(small_weights)).run().outputs.out_file
    written, affine = read_stack(found)
    np.testing.assert_array_equal(written, predict(load_weights(small_weights), stack))
    np.testing.assert_allclose(affine, grid.affine, atol=1e-6)


def test_slabs_are_joined_enhanced_and_brought_back_to_the_volume(head, rng):
    like, stack, path, grid = head
    saliency = rng.lognormal(size=stack.shape).astype(np.float32) * np.sign(stack - 100)
    probabilities = rng.random((len(stack), 4, *stack.shape[1:]), dtype=np.float32)
    slabs = {
        name: [write_stack(v[part], grid.affine, f'{name}{part.start}.nii') for part in parts]
        for parts in [(slice(0, 3), slice(3, 4))]
        for name, v in {'saliency': saliency, 'probabilities': probabilities}.items()
    }
    found = (
        Enhance(**slabs, stack=path, like=str(like), pose=POSE.to_plain(), peak=1.5, width=0.7)
        .run()
        .outputs
    )
    enhanced = enhance(saliency, head_mask(stack), peak=1.5, width=0.7)
    assert np.abs(enhanced - enhance(saliency, head_mask(stack))).max() > 0.1
    for name, values in (
        ('saliency', saliency),
        ('enhanced', enhanced),
        ('probabilities', probabilities),
    ):
        np.testing.assert_array_equal(read_stack(getattr(found, f'{name}_stack'))[0], values)
        native = nib.load(getattr(found, name))
        np.testing.assert_allclose(native.get_fdata(), grid.to_native(values), atol=1e-6)
        np.testing.assert_allclose(native.affine, nib.load(like).affine)
    fit, rows = lognormal_fit(saliency), pd.read_csv(found.lognormal_slices, sep='\t')
    assert rows['slice'].tolist() == [0, 1, 2, 3]
    assert rows['best'].tolist() == fit.best()
    for name in ('mu', 'sigma', 'ks_distance', 'anderson_darling'):
        np.testing.assert_allclose(rows[name], getattr(fit, name), rtol=1e-3)
    with open(found.lognormal) as stream:
        told = json.load(stream)
    np.testing.assert_allclose(told['observed'], fit.observed)
    assert told['best'] == fit.best()


def test_the_refinement_gets_each_stack_as_what_it_is(head, rng):
    """A mouse: slices 0.6 mm apart are 0.92 mm of a rat."""
    _, stack, path, grid = head
    first = rng.dirichlet(np.ones(4), stack.shape).astype(np.float32).transpose(0, 3, 1, 2)
    enhanced, placed = rng.random((2, *stack.shape), dtype=np.float32)
    files = {
        name: write_stack(values, grid.affine, f'{name}.nii')
        for name, values in {
            'probabilities_stack': first,
            'enhanced_stack': enhanced,
            'placed_stack': placed,
        }.items()
    }
    weights = str(default_refinement())
    found = Refine(stack=path, weights=weights, pose=POSE.to_plain(), **files).run().outputs
    positions = (np.arange(4) - 1.5) * 0.6 / 0.65
    expected = refine(
        load_weights(weights, form=REFINEMENT),
        stack,
        brain_probability(first, stack),
        enhanced,
        placed,
        positions,
    )
    written, affine = read_stack(found.refined_stack)
    np.testing.assert_allclose(written, expected, atol=1e-5)
    assert expected.std() > 0.05
    np.testing.assert_allclose(affine, grid.affine, atol=1e-6)


@pytest.mark.parametrize('method', ['auto', 'first-glance', 'correlation'])
def test_the_mask_is_that_of_the_method_and_judged_in_the_size_of_a_rat(head, monkeypatch, method):
    """The header of the volume has lengths ten times too large, as for human software."""
    like, stack, path, grid = head
    inside = np.clip((stack - 60) / 100, 0, 1)
    first = np.stack([1 - inside, *[inside / 3] * 3], axis=1).astype(np.float32)
    # Away from the head it is taken for none
    first[:, 0, :4, :4] = 0.1
    refined = np.roll(inside, 1, axis=1)
    placed = np.roll(inside, -2, axis=2) >= 0.5
    files = {
        name: write_stack(values.astype(np.float32), grid.affine, f'{name}.nii')
        for name, values in {
            'probabilities_stack': first,
            'refined_stack': refined,
            'placed_stack': placed,
        }.items()
    }
    rows = [{'slice': n, 'peak': peak} for n, peak in enumerate((0.5, 0.2, -0.1, 0.9))]
    image = nib.load(like)
    tenfold = nib.Nifti1Image(image.dataobj, np.diag([10, 10, 10, 1]) @ image.affine)
    mark_scale(tenfold.header, 10)
    nib.save(tenfold, 'tenfold.nii')
    # Of all evidence the volume counts most
    weights = [0.1] * len(EVIDENCE) + [2.0]
    weights[EVIDENCE.index('size')] = 1.0
    calibration = Calibration(tuple(weights), (0.1,) * (len(SLICE_EVIDENCE) + 1))
    monkeypatch.setattr('secondglance.interfaces.brain.read_calibration', lambda _: calibration)
    found = (
        SelectMask(
            stack=path,
            placement=write_tsv(rows, 'placement.tsv'),
            refinement=str(default_refinement()),
            method=method,
            like='tenfold.nii',
            pose=POSE.to_plain(),
            **files,
        )
        .run()
        .outputs
    )
    in_plane, apart = 0.25 / 0.65, 0.6 / 0.65
    evidence = MaskEvidence(
        first=brain_probability(first, stack),
        refined=refined,
        placed=placed,
        peaks=np.array([0.5, 0.2, -0.1, 0.9]),
        voxel_mm3=in_plane**2 * apart,
    )
    taken = select_mask(method, evidence, in_plane, apart, calibration)
    np.testing.assert_allclose(read_stack(found.mask_stack)[0], taken.mask, atol=1e-6)
    mask = nib.load(found.brain_mask)
    np.testing.assert_allclose(mask.affine, tenfold.affine)
    brain = np.asarray(mask.dataobj) > 0
    np.testing.assert_array_equal(brain, grid.to_native(taken.mask) >= 0.5)
    with open(found.confidence) as stream:
        told = json.load(stream)
    assert (told['Method'], told['MethodAskedFor']) == (taken.method, method)
    assert told['Confidence'] == pytest.approx(taken.confidence, rel=1e-4)
    assert told['ConfidenceOfMethods'] == pytest.approx(taken.candidates, rel=1e-4)
    assert told['Species'] == 'mouse'
    assert told['BrainVolume'] == pytest.approx(brain.sum() * 0.25**2 * 0.6, rel=1e-5)
    judged = pd.read_csv(found.placement, sep='\t')
    np.testing.assert_allclose(judged['agreement'], agreement(taken.mask >= 0.5, placed), 1e-4)
    np.testing.assert_allclose(judged['probability'], taken.slice_confidence, rtol=1e-4)
    assert judged['peak'].tolist() == [0.5, 0.2, -0.1, 0.9]


def test_the_fit_is_written_in_full(head, rng):
    like, stack, path, grid = head
    saliency = rng.lognormal(size=stack.shape).astype(np.float32)
    probabilities = rng.random((len(stack), 4, *stack.shape[1:]), dtype=np.float32)
    files = {
        'saliency': [write_stack(saliency, grid.affine, 's.nii')],
        'probabilities': [write_stack(probabilities, grid.affine, 'p.nii')],
    }
    found = Enhance(**files, stack=path, like=str(like), pose=POSE.to_plain()).run().outputs
    fit, rows = lognormal_fit(saliency), pd.read_csv(found.lognormal_slices, sep='\t')
    names = ['mu', 'sigma', 'ks_distance', 'anderson_darling']
    assert list(rows) == ['slice', *names, *(f'aic_{name}' for name in fit.aic), 'best']
    for name, values in fit.aic.items():
        np.testing.assert_allclose(rows[f'aic_{name}'], values, rtol=1e-4)
    with open(found.lognormal) as stream:
        told = json.load(stream)
    assert list(told) == ['theoretical', 'observed', 'ks_distance', 'best']
    np.testing.assert_allclose(told['theoretical'], fit.theoretical)
    np.testing.assert_allclose(told['ks_distance'], fit.ks_distance)
