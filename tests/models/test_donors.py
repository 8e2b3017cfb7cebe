"""The saliency of donors that ships is what the shipped weights give, and used for them alone."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from secondglance.data import donor_paths
from secondglance.files.bids import find_donor
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.placement.donors import Donor
from secondglance.models import donors
from secondglance.models.choices import AS_PUBLISHED
from secondglance.models.donors import (
    PlacedDonor,
    compute_donor,
    donor_arrays,
    donor_key,
    read_donor,
    read_donors,
    shipped_donor,
)
from secondglance.models.unet import UNet
from secondglance.models.weights import LoadedModel, default_weights, load_weights


def made_with(model):
    return model.checksum, model.spacing


@pytest.fixture(scope='module')
def model():
    return load_weights(default_weights())


@pytest.mark.slow
@pytest.mark.parametrize('folder', donor_paths(), ids=lambda folder: folder.name)
def test_what_ships_is_what_the_network_computes(model, folder):
    """After new weights: ``python benchmarks/donor_saliency.py``."""
    image, mask = find_donor(folder)
    shipped = shipped_donor(*made_with(model), image, mask, animal='sub-1')
    assert shipped is not None
    computed = compute_donor(model, image, mask, animal='sub-1')
    np.testing.assert_array_equal(shipped.donor.mask, computed.donor.mask)
    np.testing.assert_allclose(shipped.donor.positions, computed.donor.positions, atol=1e-9)
    np.testing.assert_allclose(shipped.affine, computed.affine, atol=1e-9)
    assert shipped.donor.animal == computed.donor.animal == 'sub-1'
    # Processors round differently, and a rectifier next to zero may then differ
    apart = np.abs(shipped.donor.enhanced - computed.donor.enhanced)
    assert apart.mean() < 1e-4
    assert np.quantile(apart, 0.999) < 1e-2


def test_what_ships_is_read_and_not_computed(model, monkeypatch):
    image, mask = find_donor(donor_paths()[0])
    monkeypatch.setattr(donors, 'compute_donor', lambda *_: pytest.fail('computed'))
    found = read_donor(model, image, mask)
    expected = shipped_donor(*made_with(model), image, mask)
    np.testing.assert_array_equal(found.enhanced, expected.donor.enhanced)


def test_a_donor_that_ships_is_known_by_any_name_of_its_folder(model, tmp_path, monkeypatch):
    folder = donor_paths()[0]
    expected = shipped_donor(*made_with(model), *find_donor(folder))
    link = tmp_path / 'link'
    link.symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    for path in (link, Path(folder.name)):
        found = shipped_donor(*made_with(model), *find_donor(path))
        np.testing.assert_array_equal(found.donor.enhanced, expected.donor.enhanced)


@pytest.mark.slow
def test_a_package_that_a_link_leads_to_has_the_same_donors(tmp_path):
    """Import by a link, and tell what is read of the donors as the graph names them."""
    (tmp_path / 'secondglance').symlink_to(donor_paths()[0].parents[2])
    code = (
        'from secondglance.data import donor_paths;'
        'from secondglance.files.bids import find_donor;'
        'from secondglance.models.donors import shipped_donor;'
        'from secondglance.models.weights import *;'
        'header = read_header(default_weights())["checksum"], weights_spacing(default_weights());'
        'pair = [path.resolve() for path in find_donor(donor_paths()[0])];'
        'print(shipped_donor(*header, *pair) is not None)'
    )
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    said = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert said.stdout == 'True\n', said.stderr


def test_other_weights_settings_and_files_are_computed(model, tmp_path):
    image, mask = find_donor(donor_paths()[0])
    assert shipped_donor('0', model.spacing, image, mask) is None
    assert shipped_donor(model.checksum, 0.1, image, mask) is None
    for change in ({'method': 'gradient'}, {'target': 'WM'}, {'copies': 2}, {'peak': 1.0}):
        assert (
            shipped_donor(*made_with(model), image, mask, replace(AS_PUBLISHED, **change)) is None
        )
    other = find_donor(donor_paths()[1])
    assert shipped_donor(*made_with(model), image, other[1]) is None
    copied = shutil.copy(image, tmp_path)
    assert shipped_donor(*made_with(model), copied, mask) is None


@pytest.mark.parametrize('share', [0, 0.5])
def test_a_file_that_was_cut_is_not_believed(model, tmp_path, monkeypatch, share):
    image, mask = find_donor(donor_paths()[0])
    whole = donors.donor_saliency_path().read_bytes()
    cut = tmp_path / 'cut.npz'
    cut.write_bytes(whole[: int(share * len(whole))])
    monkeypatch.setattr(donors, 'donor_saliency_path', lambda: cut)
    assert shipped_donor(*made_with(model), image, mask) is None
    # Values changed inside the archive do not fit its checksums
    cut.write_bytes(whole[:2000] + bytes(500) + whole[2500:])
    assert shipped_donor(*made_with(model), image, mask) is None


def test_arrays_of_a_donor_are_read_as_they_were_written(tmp_path, monkeypatch, rng):
    image, mask = find_donor(donor_paths()[0])
    enhanced, brain, affine = (
        rng.random((3, 4, 5)),
        rng.random((3, 4, 5)) > 0.5,
        rng.random((4, 4)),
    )
    made = PlacedDonor(Donor(enhanced, brain, np.array([-1.0, 0, 1]), ''), affine)
    key = donor_key('of weights', 0.3, image, mask, AS_PUBLISHED)
    path = tmp_path / 'donors.npz'
    np.savez(path, **{f'{key}-{part}': array for part, array in donor_arrays(made).items()})
    monkeypatch.setattr(donors, 'donor_saliency_path', lambda: path)
    found = shipped_donor('of weights', 0.3, image, mask, animal='sub-4')
    np.testing.assert_array_equal(found.donor.enhanced, enhanced)
    np.testing.assert_array_equal(found.donor.mask, brain)
    np.testing.assert_array_equal(found.donor.positions, [-1, 0, 1])
    np.testing.assert_array_equal(found.affine, affine)
    assert found.donor.animal == 'sub-4'


def test_a_bank_is_computed_as_asked_and_its_animals_are_those_of_the_images(tmp_path):
    torch.manual_seed(1)
    small = LoadedModel(UNet((4, 6)).eval(), 0.3, CLASSES, '', '', {})
    for name, path in zip(('sub-A1_T2w', 'mask'), find_donor(donor_paths()[0]), strict=True):
        nib.save(nib.load(path).slicer[:, :, 8:11], tmp_path / f'{name}.nii.gz')
    options = replace(AS_PUBLISHED, method='gradient')
    (found,) = read_donors(small, [tmp_path], options)
    pair = find_donor(tmp_path)
    expected = compute_donor(small, *pair, options, animal='sub-A1').donor
    assert found.animal == expected.animal == 'sub-A1'
    np.testing.assert_array_equal(found.enhanced, expected.enhanced)
    assert np.abs(found.enhanced - compute_donor(small, *pair).donor.enhanced).max() > 0.01
