"""The saliency of donors is computed once for all subjects that share a cache."""

import errno
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from secondglance.data import donor_paths
from secondglance.files.bids import find_donor
from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.correlation import centre_on
from secondglance.interfaces import donors
from secondglance.interfaces.donors import DonorSaliency
from secondglance.models.weights import default_weights


@pytest.fixture
def look(tmp_path, monkeypatch):
    image, mask = find_donor(donor_paths()[0])

    def _look(folder, **inputs):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        donor = {'images': [str(image)], 'masks': [str(mask)]}
        node = DonorSaliency(**({'weights': str(default_weights())} | donor | inputs))
        found = node.run(cwd=str(tmp_path / folder)).outputs
        return [Path(found.enhanced).read_bytes(), Path(found.masks).read_bytes()]

    return _look


@pytest.fixture
def thin(tmp_path):
    """Slices of a donor that ships: what is made of them has to be computed."""
    paths = {}
    for name, path in zip(('images', 'masks'), find_donor(donor_paths()[0]), strict=True):
        paths[name] = [str(tmp_path / path.name)]
        nib.save(nib.load(path).slicer[:, :, 5:11], paths[name][0])
    return paths


@pytest.mark.slow
def test_second_subject_finds_what_the_first_computed(look, thin, tmp_path, monkeypatch):
    cache = {'cache_dir': str(tmp_path / 'shared' / 'donors')} | thin
    first = look('a', **cache)
    assert first == look('alone', **thin)
    with monkeypatch.context() as patch:
        patch.setattr(DonorSaliency, '_compute', lambda *_: pytest.fail('computed again'))
        assert look('b', **cache) == first
    assert look('c', **cache, method='gradient') != first
    assert look('d', **cache, peak=1.0) != first
    assert look('e', **cache, width=0.3) != first
    assert look('f', **cache, target='WM') != first
    assert look('g', **cache, smooth=1) != first
    left = [p.name for p in (tmp_path / 'shared' / 'donors').iterdir()]
    assert len(left) == 6
    assert not any(name.startswith('.') for name in left)


OTHER = {'width': 0.4, 'smooth': 2, 'peak': 1.0, 'method': 'gradient', 'target': 'WM'}


@pytest.mark.parametrize('changed', ['weights', 'images', 'masks', *OTHER, 'version', 'nothing'])
def test_what_is_shared_is_of_the_same_network_heads_masks_and_options(
    look, tmp_path, monkeypatch, changed
):
    computed = []

    def compute(self, folder):
        computed.append(folder)
        for name in ('enhanced', 'masks'):
            (folder / f'donor-00_{name}.nii').write_text(str(folder))
        return True

    monkeypatch.setattr(DonorSaliency, '_compute', compute)
    image, mask = find_donor(donor_paths()[0])
    own = {'weights': default_weights(), 'images': image, 'masks': mask}
    for name, path in own.items():
        own[name] = tmp_path / path.name
        shutil.copy(path, own[name])
    given = {name: str(path) if name == 'weights' else [str(path)] for name, path in own.items()}
    given |= {'cache_dir': str(tmp_path / 'shared'), 'width': 0.5, 'smooth': 0}
    look('a', **given)
    if changed in own:
        with own[changed].open('ab') as stream:
            stream.write(b'x')
    else:
        given |= {changed: OTHER[changed]} if changed in OTHER else {}
        if changed == 'version':
            monkeypatch.setattr(donors, '__version__', 'another')
    look('b', **given)
    assert len(computed) == (1 if changed == 'nothing' else 2)


def test_donors_that_ship_are_read_and_not_shared(look, tmp_path):
    assert look('a', cache_dir=str(tmp_path / 'shared')) == look('b')
    assert not (tmp_path / 'shared').exists()


def test_what_was_shared_and_then_damaged_is_computed_again(look, thin, tmp_path):
    cache = {'cache_dir': str(tmp_path / 'shared')} | thin
    first = look('a', **cache)
    [path] = (tmp_path / 'shared').glob('*/donor-00_enhanced.nii')
    path.write_bytes(bytes(path.stat().st_size))
    assert look('b', **cache) == first
    [path] = (tmp_path / 'shared').glob('[!.]*/donor-00_enhanced.nii')
    assert path.read_bytes() == first[0]


def test_a_donor_that_another_process_shared_meanwhile_is_as_good(
    look, thin, tmp_path, monkeypatch
):
    """It was quicker, and what was to be shared is removed already."""

    def late(source, target):
        shutil.copytree(source, target)
        shutil.rmtree(source)
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    with monkeypatch.context() as patch:
        patch.setattr('secondglance.interfaces.donors.os.rename', late)
        first = look('a', cache_dir=str(tmp_path / 'shared'), **thin)
    [shared] = (tmp_path / 'shared').iterdir()
    assert (shared / 'donor-00_enhanced.nii').read_bytes() == first[0]


SOME, OF_STACK = slice(5, 10), slice(6, 11)
"""Slices of a donor of which the saliency is soon computed; its stack begins at the other end."""


def test_a_donor_on_its_back_is_turned_upright(tmp_path, look):
    upright = look('bank')
    for path in find_donor(donor_paths()[0]):
        image = nib.load(path)
        some = image.dataobj[::-1, ::-1, SOME]
        nib.save(image.__class__(some, image.affine), tmp_path / path.name)
    image, mask = (str(tmp_path / path.name) for path in find_donor(donor_paths()[0]))
    found = look('own', images=[image], masks=[mask])

    def stacks(contents, part):
        volumes = (nib.Nifti1Image.from_bytes(x).get_fdata() for x in contents)
        enhanced, mask = (volume[..., part] for volume in volumes)
        brain = np.moveaxis(mask, 2, 0) >= 0.5
        return centre_on(brain, (64, 64), np.moveaxis(enhanced, 2, 0), brain)

    turned, its_brain = stacks(found, slice(None))
    straight, brain = stacks(upright, OF_STACK)
    assert dice(its_brain, brain) > 0.96
    assert np.corrcoef(turned[brain], straight[brain])[0, 1] > 0.4
    upside_down = turned[:, ::-1, ::-1]
    assert np.corrcoef(upside_down[brain], straight[brain])[0, 1] < 0.2


def test_a_mouse_donor_is_scaled_to_a_rat(tmp_path, look):
    """The same head with smaller voxels is the same to the network, and as large as it was."""
    rat = look('bank')
    paths = []
    for path in find_donor(donor_paths()[0]):
        image = nib.load(path)
        affine = np.diag([0.65, 0.65, 0.65, 1]) @ image.affine
        affine[:3, 3] += affine[:3, 2] * SOME.start
        nib.save(image.__class__(image.dataobj[:, :, SOME], affine), tmp_path / path.name)
        paths.append(str(tmp_path / path.name))
    found = look('own', images=paths[:1], masks=paths[1:])
    for mouse, whole in zip(found, rat, strict=True):
        a, b = (nib.Nifti1Image.from_bytes(x) for x in (mouse, whole))
        known = b.slicer[:, :, OF_STACK]
        np.testing.assert_allclose(a.affine, known.affine, atol=1e-4)
        # Rounding moves a gradient now and then
        assert np.abs(a.get_fdata() - known.get_fdata()).mean() < 1e-3
        assert np.abs(known.get_fdata()).mean() > 1e-2


def test_donors_come_in_their_order_and_are_kept_under_24_digits(thin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = [(thin['images'][0], thin['masks'][0]), find_donor(donor_paths()[1])]
    node = DonorSaliency(
        weights=str(default_weights()),
        images=[str(image) for image, _ in pairs],
        masks=[str(mask) for _, mask in pairs],
        cache_dir=str(tmp_path / 'shared'),
    )
    found = node.run(cwd=str(tmp_path)).outputs
    for kind in ('enhanced', 'masks'):
        names = [Path(path).name for path in getattr(found, kind)]
        assert names == [f'donor-00_{kind}.nii', f'donor-01_{kind}.nii']
    for (_, mask), stack in zip(pairs, found.masks, strict=True):
        brain, shown = nib.load(mask), nib.load(stack)
        sizes = [np.abs(np.linalg.det(one.affine[:3, :3])) for one in (brain, shown)]
        volumes = [(brain.get_fdata() > 0).sum(), (shown.get_fdata() >= 0.5).sum()]
        # Whichever grid it lies on, it is the brain of that donor
        assert sizes[0] * volumes[0] == pytest.approx(sizes[1] * volumes[1], rel=0.02)
    (shared,) = (tmp_path / 'shared').iterdir()
    assert len(shared.name) == 24
    assert set(shared.name) <= set('0123456789abcdef')
    assert sorted(p.name for p in shared.iterdir()) == [
        'digests.json',
        *(f'donor-{n:02d}_{kind}.nii' for n in (0, 1) for kind in ('enhanced', 'masks')),
    ]


def test_what_others_shared_and_is_whole_is_left_as_it_is(look, thin, tmp_path, monkeypatch):
    cache = tmp_path / 'shared'
    first = look('a', cache_dir=str(cache), **thin)
    (shared,) = cache.iterdir()
    before = {p: p.stat().st_ino for p in shared.iterdir()}
    # One that did not see it in time
    monkeypatch.setattr(donors, '_take', lambda *_: False)
    assert look('b', cache_dir=str(cache), **thin) == first
    assert {p: p.stat().st_ino for p in shared.iterdir()} == before
    assert list(cache.iterdir()) == [shared]


def test_a_cache_that_cannot_be_written_is_an_error(look, thin, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='file'):
        look('a', cache_dir=str(tmp_path / 'file' / 'shared'), **thin)
