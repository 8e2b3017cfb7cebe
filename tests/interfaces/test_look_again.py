"""The second glance of a scan: its atlas, its transform and its volumes, in mm of the animal."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from nipype.interfaces.base import Bunch

from secondglance.files.nifti_header import mark_scale
from secondglance.files.stacks import read_stack, write_stack
from secondglance.imaging.errors import InputError
from secondglance.imaging.glance_pooling import WEIGHT, pool_glances
from secondglance.imaging.pose import Pose
from secondglance.imaging.tissues import TissueMaps, label_tissues, tissues_inside
from secondglance.interfaces.tissues import LookAgain
from secondglance.models.second_glance import volume
from secondglance.models.second_glance.network import N_CHANNELS, OUTPUTS
from secondglance.models.unet import UNet
from secondglance.models.weights import SECOND_GLANCE, save_weights

SIZES = np.array([0.3, 1.1, 0.3])


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return written(tmp_path_factory.mktemp('weights') / 'w.safetensors')


def written(path, contrast=1):
    """Write a network of which the place is what the mask alone says."""
    torch.manual_seed(0)
    net = UNet((2, 4, 4, 4, 4), N_CHANNELS, len(OUTPUTS)).eval()
    with torch.no_grad():
        net.head.weight[:3] *= contrast
        net.head.weight[3:] = 0
        net.head.bias[3:] = 0
    more = {'spacing': '0.2', 'classes': json.dumps(list(OUTPUTS))}
    save_weights(net, path, more, SECOND_GLANCE)
    return str(path)


@pytest.fixture(scope='module')
def atlases(tmp_path_factory):
    """An atlas of one region for each species: 5 of a rat, 7 of a mouse."""
    folders = {}
    for species, label in (('rat', 5), ('mouse', 7)):
        folder = folders[species] = tmp_path_factory.mktemp('atlas') / species
        folder.mkdir()
        affine = np.eye(4)
        affine[:3, 3] = -25
        labels = np.full((50, 50, 50), label, np.int16)
        labels[0] = 0
        nib.save(nib.Nifti1Image(labels, affine), folder / 'regions.nii.gz')
        (folder / 'regions.tsv').write_text(f'index\tname\n{label}\tall of a {species}\n')
    return {species: str(folder) for species, folder in folders.items()}


@pytest.fixture(scope='module')
def seen():
    """What was found so far where nothing else was asked for: several tests look at it."""
    return {}


@pytest.fixture
def look(seen, weights, atlases, tmp_path_factory, monkeypatch):
    """Return a function that looks again at a head, of a species, with lengths times a factor."""

    def _look(species='rat', factor=1.0, mask=None, **more):
        folder = tmp_path_factory.mktemp(f'{species} {factor}')
        monkeypatch.chdir(folder)
        size = 0.65 if species == 'mouse' else 1.0
        rng = np.random.default_rng(1)
        x, y, z = np.mgrid[:48, :9, :40]
        away = ((x - 23) / 19) ** 2 + ((z - 19) / 14) ** 2 + ((y - 4) / 5) ** 2
        mask = away < 1 if mask is None else mask
        head = np.where(away < 1.6, rng.uniform(60, 90, away.shape), 1)
        affine = np.diag([*(SIZES * size * factor), 1.0])
        affine[:3, 3] = np.array([-7, -5, -6]) * size * factor
        paths = {}
        for name, voxels in (
            ('in_file', head.astype('f4')),
            ('mask_file', mask.astype('u1')),
        ):
            image = nib.Nifti1Image(voxels, affine)
            mark_scale(image.header, factor)
            paths[name] = str(folder / f'{name}.nii')
            nib.save(image, paths[name])
        given = {'weights': weights, 'device': 'cpu', 'atlases': atlases, **more}
        pose = Pose(species, 0.3 * size).to_plain()
        return LookAgain(**paths, **given, pose=pose).run().outputs, mask

    def _once(species='rat', factor=1.0, **more):
        if more:
            return _look(species, factor, **more)
        if (species, factor) not in seen:
            seen[species, factor] = _look(species, factor)
        return seen[species, factor]

    return _once


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def test_volumes_are_those_of_the_part_that_is_brain(look):
    """Also of the voxels beside the mask; in mm³ of the animal whatever the header says."""
    out, mask = look(factor=10.0)
    share = voxels(out.brain_share)
    # This network says one half everywhere
    assert share[mask] == pytest.approx(0.5, abs=1e-4)
    assert (share > 0).sum() > mask.sum()
    table = pd.read_csv(out.volumes, sep='\t').set_index('label')
    told = table['volume_from_fractions_mm3']
    assert told['brain'] == pytest.approx(share.sum() * SIZES.prod(), rel=1e-3)
    assert told[['WM', 'GM', 'CSF']].sum() == pytest.approx(told['brain'], rel=1e-3)
    assert table.loc['brain', 'volume_mm3'] == pytest.approx(mask.sum() * SIZES.prod(), rel=1e-3)


def test_tissues_fill_the_mask_and_come_as_stacks(look):
    out, mask = look()
    shares = [voxels(path) for path in out.probsegs]
    np.testing.assert_allclose(sum(shares), mask, atol=1e-5)
    np.testing.assert_array_equal(voxels(out.dseg) > 0, mask)
    stack, _ = read_stack(out.probabilities_stack)
    labels, _ = read_stack(out.labels_stack)
    assert stack.shape[1] == 4
    assert set(np.unique(labels)) <= {0, 1, 2, 3}
    inside = labels > 0
    np.testing.assert_allclose(stack.sum(axis=1)[inside], 1, atol=1e-4)
    # Background first, and then in the order of the files
    deep = stack[:, 1:].sum(axis=1) > 0.99
    assert deep.mean() > 0.1
    for k, share in enumerate(shares):
        assert stack[:, k + 1][deep].mean() == pytest.approx(share[mask].mean(), abs=0.05)


@pytest.mark.parametrize(('species', 'label'), [('rat', 5), ('mouse', 7)])
def test_regions_are_those_of_the_species(look, species, label):
    out, mask = look(species)
    np.testing.assert_array_equal(voxels(out.regions), label * mask)
    assert json.loads(Path(out.transform_about).read_text())['Atlas'] == species
    assert f'all of a {species}' in Path(out.regions_table).read_text()
    voxel = SIZES.prod() * (0.65**3 if species == 'mouse' else 1)
    table = pd.read_csv(out.regions_volumes, sep='\t')
    assert table['volume_mm3'].tolist() == pytest.approx([mask.sum() * voxel], rel=1e-4)


def test_without_an_atlas_there_are_no_regions(look):
    out, _ = look(atlases={})
    assert not isinstance(out.regions, str)
    assert json.loads(Path(out.transform_about).read_text())['Atlas'] == 'rat'


def test_the_transform_leads_to_the_world_of_the_atlas_that_was_given(look, tmp_path):
    """A place of the rat atlas is at half of it, and 3 mm farther on, in another's world."""
    folder = tmp_path / 'other'
    folder.mkdir()
    affine = np.eye(4)
    affine[:3, 3] = -12
    labels = np.ones((25, 25, 25), np.int16)
    labels[0] = 0
    nib.save(nib.Nifti1Image(labels, affine), folder / 'regions.nii.gz')
    (folder / 'regions.tsv').write_text('index\tname\n1\tall\n')
    to_rat = np.diag([2.0, 2, 2, 1])
    to_rat[1, 3] = -6
    (folder / 'frame.json').write_text(json.dumps({'to_rat': to_rat.tolist()}))
    plain, given = look()[0], look(atlases={'rat': str(folder)})[0]
    of_rat, of_other = (sitk.ReadTransform(out.transform) for out in (plain, given))
    lps = np.array([-1, -1, 1])
    for point in np.array([[0.0, 0, 0], [3, -2, 1], [-4, 1, -3]]):
        rat = np.array(of_rat.TransformPoint(point.tolist())) * lps
        other = np.array(of_other.TransformPoint(point.tolist())) * lps
        np.testing.assert_allclose(other, rat / 2 + [0, 3, 0], atol=0.02)


def field_of(out):
    """Steps, mm of the scan's world, and size of the field of a transform."""
    composite = sitk.CompositeTransform(sitk.ReadTransform(out.transform))
    field = sitk.DisplacementFieldTransform(composite.GetNthTransform(1)).GetDisplacementField()
    return field.GetSpacing(), field.GetSize()


def test_headers_in_other_millimetres_give_the_same_place_and_volumes(look):
    """A header with voxel sizes multiplied by 10 (human software)."""
    plain, scaled = look()[0], look(factor=10.0)[0]
    one, two = (sitk.ReadTransform(out.transform) for out in (plain, scaled))
    for point in np.array([[0.0, 0, 0], [3, -2, 1], [-4, 1, -3], [5, 3, 4]]):
        found, expected = (
            two.TransformPoint((10 * point).tolist()),
            one.TransformPoint(point.tolist()),
        )
        np.testing.assert_allclose(found, expected, atol=0.02)
    assert nib.load(scaled.dseg).header.get_zooms() == pytest.approx(tuple(10 * SIZES))
    np.testing.assert_array_equal(voxels(scaled.dseg), voxels(plain.dseg))
    # Points of its field lie as close in the animal: half a millimetre
    steps, sizes = zip(*(field_of(out) for out in (plain, scaled)), strict=True)
    np.testing.assert_allclose(steps, [[0.5] * 3, [5.0] * 3])
    np.testing.assert_allclose(*sizes, atol=1)
    for name in ('volumes', 'regions_volumes'):
        tables = [pd.read_csv(getattr(out, name), sep='\t') for out in (plain, scaled)]
        pd.testing.assert_frame_equal(*tables)


def test_a_mouse_lies_in_the_atlas_as_a_rat_of_its_shape(look):
    rat, mouse = (sitk.ReadTransform(look(species)[0].transform) for species in ('rat', 'mouse'))
    # The field of a mouse is as much finer as its brain is smaller
    bent = sitk.DisplacementFieldTransform(sitk.CompositeTransform(mouse).GetNthTransform(1))
    assert bent.GetDisplacementField().GetSpacing() == pytest.approx((0.5 * 0.65,) * 3)
    for point in np.array([[0.0, 0, 0], [3, -2, 1], [-4, 1, -3]]):
        found, expected = (
            mouse.TransformPoint((0.65 * point).tolist()),
            rat.TransformPoint(point.tolist()),
        )
        np.testing.assert_allclose(found, expected, atol=0.1)


def test_the_field_of_the_transform_covers_every_voxel_of_the_scan(look):
    out, brain = look()
    composite = sitk.CompositeTransform(sitk.ReadTransform(out.transform))
    field = sitk.DisplacementFieldTransform(composite.GetNthTransform(1)).GetDisplacementField()
    affine = nib.load(out.dseg).affine
    for corner in np.ndindex(2, 2, 2):
        # To the outer edges of the voxels
        voxel = np.where(corner, brain.shape, 0) - 0.5
        world = nib.affines.apply_affine(affine, voxel) * [-1, -1, 1]
        index = field.TransformPhysicalPointToContinuousIndex(world.tolist())
        assert np.min(index) > -1e-4
        assert np.all(np.array(index) < np.array(field.GetSize()) - 1 + 1e-4)


def test_a_mask_without_a_place_keeps_the_tissues_of_the_first_glance(tmp_path, monkeypatch):
    """Three voxels: slabs of the first glance say white, grey and fluid."""
    monkeypatch.chdir(tmp_path)
    affine = np.diag([0.3, 0.3, 1.0, 1.0])
    mask = np.zeros((24, 20, 4), np.uint8)
    mask[12, 10, :3] = 1
    for name, content in (('head', np.ones(mask.shape, np.float32)), ('mask', mask)):
        nib.save(nib.Nifti1Image(content, affine), f'{name}.nii')
    pose = Pose('rat', 0.3, 'k')
    grid = pose.grid(mask.shape, affine)
    first = np.zeros((4, 4, *grid.stack_shape[1:]), np.float32)
    for n, shares in enumerate([(0.2, 0.8, 0, 0), (0, 0.25, 0.75, 0), (0.5, 0, 0.1, 0.4)]):
        first[n] = np.array(shares)[:, None, None]
    first[3, 0] = 1
    slabs = [write_stack(first[k : k + 2], grid.affine, f'{k}.nii') for k in (0, 2)]
    node = LookAgain(
        in_file=str(tmp_path / 'head.nii'),
        mask_file=str(tmp_path / 'mask.nii'),
        weights=str(tmp_path / 'mask.nii'),
        first_probabilities_stack=slabs,
        pose=pose.to_plain(),
    )
    runtime = Bunch(cwd=str(tmp_path))
    results = node._run_interface(runtime) and node._results
    found = np.stack([voxels(path) for path in results['probsegs']], axis=-1)
    expected = [(1, 0, 0), (0.25, 0.75, 0), (0, 0.2, 0.8)]
    np.testing.assert_allclose(found[12, 10, :3], expected, atol=1e-5)
    # In a file 1 is grey, 2 white, 3 fluid
    assert voxels(results['dseg'])[12, 10].tolist() == [2, 1, 3, 0]
    assert voxels(results['dseg']).sum() == 6
    assert 'transform' not in results
    assert json.loads(Path(results['tissues_about']).read_text()) == {'FirstGlanceWeight': 1}


def test_how_well_the_transform_fits_is_told_to_a_thousandth(look, monkeypatch):
    real = volume.glance_at_volume

    def fitted(*given, **options):
        found = real(*given, **options)
        return replace(found, stack=replace(found.stack, misfit_mm=0.12345))

    monkeypatch.setattr(volume, 'glance_at_volume', fitted)
    out, _ = look(device='cpu')
    told = Path(out.transform_about).read_text()
    assert told == '{"Atlas": "rat", "MedianMisfitMillimetres": 0.123}'
    assert Path(out.regions_table).read_text().splitlines()[1].split('\t')[:2] == [
        '5',
        'all of a rat',
    ]
    composite = sitk.CompositeTransform(sitk.ReadTransform(out.transform))
    field = sitk.DisplacementFieldTransform(composite.GetNthTransform(1)).GetDisplacementField()
    assert field.GetSpacing() == pytest.approx((0.5,) * 3)


def weight_told(out):
    return json.loads(Path(out.tissues_about).read_text())


def test_the_first_glance_counts_where_both_agree(look, tmp_path):
    """A first glance like the second, but surer, on the grid of its own slices."""
    sharp = written(tmp_path / 'sharp.safetensors', contrast=30)
    alone, mask = look(weights=sharp)
    assert weight_told(alone) == {'FirstGlanceWeight': 0}
    stack, affine = read_stack(alone.probabilities_stack)
    first = write_stack(stack**2, affine, tmp_path / 'first.nii')
    both, _ = look(weights=sharp, first_probabilities_stack=[str(first)])
    assert weight_told(both) == {'FirstGlanceWeight': WEIGHT}
    shares = np.stack([voxels(path) for path in alone.probsegs], axis=-1)
    # Beside the mask, amounts are not told by these files
    amounts = shares * voxels(alone.brain_share)[..., None]
    image = nib.load(alone.dseg)
    grid = Pose('rat', 0.3).grid(image.shape, image.affine)
    expected, _ = pool_glances(
        tissues_inside(grid.to_native(stack**2), mask),
        TissueMaps(label_tissues(shares, mask), shares, amounts),
        mask,
    )
    for index, path in enumerate(both.probsegs):
        np.testing.assert_allclose(voxels(path), expected.fractions[..., index], atol=1e-5)
    assert np.abs(expected.fractions - shares).max() > 2e-3
    np.testing.assert_allclose(voxels(both.brain_share), voxels(alone.brain_share), atol=1e-5)
    tables = [pd.read_csv(out.volumes, sep='\t') for out in (alone, both)]
    told = [table['volume_from_fractions_mm3'] for table in tables]
    np.testing.assert_allclose(*told, rtol=2e-3)


def test_a_first_glance_that_disagrees_changes_nothing(look, tmp_path):
    alone, _ = look()
    stack, affine = read_stack(alone.probabilities_stack)
    turned = write_stack(stack[:, [0, 2, 3, 1]], affine, tmp_path / 'first.nii')
    other, _ = look(first_probabilities_stack=[str(turned)])
    assert weight_told(other) == {'FirstGlanceWeight': 0}
    for name in ('dseg', 'brain_share'):
        np.testing.assert_array_equal(voxels(getattr(other, name)), voxels(getattr(alone, name)))


def test_a_mask_without_a_place_needs_a_first_glance(look):
    few = np.zeros((48, 9, 40), bool)
    few[20:26, 3:5, 16:22] = True
    with pytest.raises(InputError, match='too small to have a place'):
        look(mask=few)
