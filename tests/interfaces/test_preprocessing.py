import json
import os
import stat
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from secondglance.files.gradient_table import read_bvals
from secondglance.files.nifti import read_volume
from secondglance.imaging.errors import InputError
from secondglance.imaging.motion import (
    resample_motion,
    residual_displacement,
    typical_volume,
)
from secondglance.imaging.motion_correction import MotionEstimate
from secondglance.imaging.pose import Pose
from secondglance.interfaces import preprocessing
from secondglance.interfaces.mcflirt import (
    mcflirt_in_region,
    mcflirt_on_head,
    mcflirt_path,
    resolve_engine,
)
from secondglance.interfaces.preprocessing import (
    PARAMETERS,
    Displacement,
    McflirtMotion,
    MeanVolume,
    NoMotion,
    SelectB0,
    SitkMotion,
)
from secondglance.models.weights import default_weights

# Stands where MCFLIRT would: records how it was called, and finds that volume 1 moved by 5 mm
# along x of FSL's own frame
FAKE = """#!/bin/sh
[ -n "$FSLOUTPUTTYPE" ] ||
    { echo 'ERROR:: Environment variable FSLOUTPUTTYPE is not set!' >&2; exit 1; }
printf '%s' "$*" > "$RECORD"
while [ "$1" != -out ]; do shift; done
mkdir "$2.mat"
t=0
for x in 0 5 0; do
    printf '1 0 0 %s\\n0 1 0 0\\n0 0 1 0\\n0 0 0 1\\n' $x > "$2.mat/MAT_000$t"
    t=$((t + 1))
done
"""


pytestmark = pytest.mark.usefixtures('in_tmp')


@pytest.fixture
def fake_fsl(tmp_path, monkeypatch):
    binary = tmp_path / 'fsl' / 'bin' / 'mcflirt'
    binary.parent.mkdir(parents=True)
    binary.write_text(FAKE)
    binary.chmod(binary.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv('FSLDIR', str(tmp_path / 'fsl'))
    # Who sets FSLDIR alone has none; what is set meanwhile is taken back
    monkeypatch.setenv('FSLOUTPUTTYPE', 'NIFTI')
    monkeypatch.delenv('FSLOUTPUTTYPE')
    monkeypatch.setenv('RECORD', str(tmp_path / 'record'))
    from fsl.utils.platform import platform

    monkeypatch.setattr(platform, '_Platform__fsldir', str(tmp_path / 'fsl'), raising=False)
    platform.fsldir = str(tmp_path / 'fsl')
    yield tmp_path / 'record'
    platform.fsldir = None


@pytest.fixture
def series(rng, save, oblique):
    return save(rng.random((8, 9, 5, 3), dtype=np.float32), oblique, 'series.nii.gz')


def test_b0_volumes_are_taken_in_order(series, tmp_path):
    bval = tmp_path / 'a.bval'
    bval.write_text('0 1000 5\n')
    out = SelectB0(in_file=series, bval_file=bval, voxel_scale=1.0).run().outputs
    assert out.volumes == [0, 2]
    expected = nib.load(series).get_fdata(dtype=np.float32)[..., [0, 2]]
    np.testing.assert_array_equal(nib.load(out.out_file).get_fdata(dtype=np.float32), expected)
    np.testing.assert_array_equal(nib.load(out.out_file).affine, nib.load(series).affine)


def test_mcflirt_is_called_on_a_tenfold_header(fake_fsl, series):
    out = McflirtMotion(in_file=series, volumes=[0, 4, 7]).run().outputs
    words = fake_fsl.read_text().split()
    called = nib.load(words[words.index('-in') + 1])
    np.testing.assert_allclose(
        nib.affines.voxel_sizes(called.affine),
        10 * nib.affines.voxel_sizes(nib.load(series).affine),
        rtol=1e-5,
    )
    pairs = {a: b for a, b in pairwise(words) if a.startswith('-')}
    assert pairs['-cost'] == 'corratio'
    volumes = nib.load(series).get_fdata(dtype=np.float32)
    assert pairs['-refvol'] == str(typical_volume(volumes))
    assert '-mats' in words
    content = json.loads(Path(out.transforms).read_text())
    assert content['reference'] == [0, 4, 7][typical_volume(volumes)]
    assert content['volumes'] == [0, 4, 7]
    # 5 mm of the tenfold header along the first voxel axis are 0.5 mm in the world; in FSL's
    # frame x runs against that axis where the affine is right-handed
    affine = nib.load(series).affine
    along = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    sign = -1 if np.linalg.det(affine) > 0 else 1
    moved = np.array(content['matrices'])[1][:3, 3]
    np.testing.assert_allclose(moved, 0.5 * sign * along, atol=1e-5)


def test_a_stale_folder_of_matrices_is_not_read(fake_fsl, series, tmp_path):
    stale = tmp_path / 'mcflirt' / 'out.mat'
    stale.mkdir(parents=True)
    (stale / 'MAT_0000').write_text('9 9 9 9\n' * 4)
    out = McflirtMotion(in_file=series, volumes=[0, 1, 2]).run().outputs
    np.testing.assert_allclose(
        json.loads(Path(out.transforms).read_text())['matrices'][0], np.eye(4), atol=1e-6
    )


@pytest.mark.fsl
@pytest.mark.skipif(not mcflirt_path(), reason='FSLDIR has no MCFLIRT')
def test_real_mcflirt_recovers_known_motion(save):
    from nibabel.affines import apply_affine

    from secondglance.simulation.atlas import read_maps
    from secondglance.simulation.diffusion import draw_motion, simulate_dwi
    from secondglance.simulation.head_volume import simulate_head

    rng = np.random.default_rng(4)
    head = simulate_head(*read_maps(), rng)
    motion = draw_motion(4, rng, head.affine)
    # Without a coil's field: it stays where it is, and MCFLIRT takes some of it for motion
    voxels = simulate_dwi(head, rng, np.zeros(4), np.zeros((3, 4)), motion, bias=0, ghost=0)
    out = McflirtMotion(in_file=save(voxels, head.affine), volumes=[0, 1, 2, 3]).run().outputs
    content = json.loads(Path(out.transforms).read_text())
    points = apply_affine(head.affine, np.argwhere(head.brain_mask))
    truth = np.linalg.inv(motion[content['reference']]) @ motion
    assert residual_displacement(np.tile(np.eye(4), (4, 1, 1)), truth, points).mean() > 0.2
    assert residual_displacement(content['matrices'], truth, points).mean() <= 0.02


@pytest.mark.parametrize('engine', [SitkMotion, NoMotion])
def test_one_volume_is_left_as_it_is(engine, rng, save, oblique):
    path = save(rng.random((8, 9, 5), dtype=np.float32), oblique)
    out = engine(in_file=path, volumes=[0]).run().outputs
    np.testing.assert_array_equal(
        nib.load(out.out_file).get_fdata()[..., 0], nib.load(path).get_fdata()
    )
    table = pd.read_csv(out.confounds, sep='\t')
    others = ['head_against_brain', 'within_volume', 'excluded']
    assert list(table) == ['volume', *PARAMETERS, *others]
    assert not table[['volume', *PARAMETERS]].to_numpy().any()
    assert json.loads(Path(out.engine).read_text())['engine'] == 'none: one volume'


def test_mean_is_the_mean(series):
    out = MeanVolume(in_file=series).run().outputs.out_file
    np.testing.assert_allclose(
        nib.load(out).get_fdata(), nib.load(series).get_fdata().mean(3), rtol=1e-6
    )


def test_auto_takes_fsl_where_it_is(fake_fsl, monkeypatch):
    assert resolve_engine('auto') == 'fsl'
    monkeypatch.delenv('FSLDIR')
    assert resolve_engine('auto') == 'sitk'
    with pytest.raises(InputError, match='FSLDIR is not set'):
        resolve_engine('fsl')


def test_unreadable_b_values(tmp_path):
    (tmp_path / 'a.bval').write_text('0 a 5')
    with pytest.raises(InputError, match=r'a\.bval'):
        read_bvals(tmp_path / 'a.bval')


def spoil(case, path, rng):
    """Write a file that has one fault."""
    voxels = rng.random((6, 6, 4), dtype=np.float32)
    image = nib.Nifti1Image(voxels, np.eye(4))
    if case == 'nan':
        voxels[1, 2, 3] = np.nan
    elif case == 'infinite':
        voxels[0, 0, 0] = np.inf
    elif case == 'constant':
        voxels[:] = 3
    elif case == 'two':
        image = nib.Nifti1Image(voxels[0], np.eye(4))
    if case == 'text':
        path.write_text('not an image')
        return
    nib.save(image, path)
    if case == 'truncated':
        path.write_bytes(path.read_bytes()[:-60])
    if case in ('zero', 'negative'):
        import gzip

        raw = bytearray(gzip.decompress(path.read_bytes()))
        raw[80:84] = np.float32(-1 if case == 'negative' else 0).tobytes()
        path.write_bytes(gzip.compress(bytes(raw)))


@pytest.mark.parametrize(
    ('case', 'says'),
    [
        ('nan', '1 voxels that are NaN'),
        ('infinite', 'NaN or infinite'),
        ('constant', 'nothing but the value 3'),
        ('two', 'shape'),
        ('zero', 'voxel sizes'),
        ('negative', 'voxel sizes'),
        ('truncated', 'truncated'),
        ('text', 'not a NIfTI file'),
        ('missing', 'is not there'),
    ],
)
def test_bad_images_are_refused_in_one_sentence(case, says, tmp_path, rng):
    path = tmp_path / 'a.nii.gz'
    if case != 'missing':
        spoil(case, path, rng)
    with pytest.raises(InputError, match=says) as error:
        read_volume(path)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


def test_environment_is_left_alone():
    assert 'RECORD' not in os.environ


def test_a_failing_mcflirt_is_reported_in_a_sentence(fake_fsl, series, tmp_path):
    (tmp_path / 'fsl' / 'bin' / 'mcflirt').write_text('#!/bin/sh\necho no memory >&2; exit 3\n')
    with pytest.raises(InputError, match=r'MCFLIRT failed .* --motion sitk') as error:
        McflirtMotion(in_file=series, volumes=[0, 1, 2]).run()
    assert '\n' not in str(error.value)


def test_the_embedded_engine_writes_the_same_files(save, oblique, tmp_path):
    from scipy import ndimage

    rng = np.random.default_rng(8)
    still = 100 * ndimage.gaussian_filter(rng.random((24, 24, 12)), 2).astype(np.float32)
    shifted = np.roll(still, 1, axis=0)
    path = save(np.stack([still, shifted, still], axis=-1), oblique, 'series.nii.gz')
    out = SitkMotion(in_file=path, volumes=[0, 3, 9], num_threads=2).run().outputs
    content = json.loads(Path(out.transforms).read_text())
    assert np.shape(content['matrices']) == (3, 4, 4)
    assert content['reference'] in content['volumes']
    about = json.loads(Path(out.engine).read_text())
    assert about['engine'] == 'SimpleITK'
    assert about['engine_version']
    assert (about['n_b0'], about['b0_volumes']) == (3, [0, 3, 9])
    corrected = nib.load(out.out_file)
    assert corrected.get_data_dtype() == np.float32
    assert np.isfinite(corrected.get_fdata()).all()
    np.testing.assert_allclose(corrected.affine, nib.load(path).affine)
    table = pd.read_csv(out.confounds, sep='\t')
    assert table['volume'].tolist() == [0, 3, 9]
    # One voxel of 0.25 mm along the first axis
    moved = table.loc[1, list(PARAMETERS[:3])] - table.loc[0, list(PARAMETERS[:3])]
    np.testing.assert_allclose(np.linalg.norm(moved.astype(float)), 0.25, atol=0.05)


@pytest.mark.parametrize(('species', 'radius'), [('rat', 10.0), ('mouse', 5.0)])
def test_a_turn_moves_a_larger_head_farther(tmp_path, monkeypatch, species, radius):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame(0.0, index=range(3), columns=['volume', *PARAMETERS])
    table['volume'] = range(3)
    table.loc[1:, 'rot_y'] = 0.01
    table.loc[2, 'trans_x'] = -0.2
    table.to_csv('motion.tsv', sep='\t', index=False)
    out = (
        Displacement(in_file=str(tmp_path / 'motion.tsv'), pose=Pose(species, 0.3).to_plain())
        .run()
        .outputs
    )
    found = pd.read_csv(out.out_file, sep='\t')
    np.testing.assert_allclose(found['framewise_displacement'], [np.nan, 0.01 * radius, 0.2])
    about = json.loads(Path(out.about).read_text())
    assert about['framewise_displacement']['HeadRadius'] == radius


def test_motion_is_in_millimetres_of_the_animal(save, oblique, tmp_path):
    """A header with voxel sizes multiplied by 10 (human software)."""
    from scipy import ndimage

    rng = np.random.default_rng(8)
    still = 100 * ndimage.gaussian_filter(rng.random((32, 20, 12)), 2).astype(np.float32)
    series = np.stack([still, np.roll(still, 1, axis=0), still], axis=-1)
    tables = []
    for scale in (1, 10):
        path = save(series, np.diag([scale, scale, scale, 1]) @ oblique, f'series{scale}.nii.gz')
        out = SitkMotion(in_file=path, volumes=[0, 1, 2]).run().outputs
        tables.append(pd.read_csv(out.confounds, sep='\t'))
        engine = json.loads(Path(out.engine).read_text())
        assert engine['header_scale'] == scale
        size = nib.affines.voxel_sizes(oblique)
        assert engine['pixel_mm'] == pytest.approx(min(size), rel=1e-4)
        np.testing.assert_allclose(nib.load(out.out_file).affine, nib.load(path).affine)
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-4)


def test_volumes_without_a_head_are_left_out_of_the_mean_and_named(rng, save, oblique):
    head = ndimage.gaussian_filter(rng.random((20, 18, 16)), 2) * 1000
    volumes = np.stack([head] * 5, axis=-1) + rng.normal(0, 1, (20, 18, 16, 5))
    volumes[..., 1] = rng.random((20, 18, 16)) * 1000
    volumes[..., 3] = ndimage.gaussian_filter(rng.random((20, 18, 16)), 2) * 1000
    path = save(volumes.astype(np.float32), oblique)
    out = SitkMotion(in_file=path, volumes=[0, 2, 3, 5, 7], empty=[6], notes=['a']).run().outputs
    table = pd.read_csv(out.confounds, sep='\t', keep_default_na=False).set_index('volume')
    reasons = table['excluded'].to_dict()
    expected = {0: 'n/a', 2: 'noise', 3: 'n/a', 5: 'registration', 6: 'zeros', 7: 'n/a'}
    assert reasons == expected
    assert table.loc[[2, 5, 6], 'trans_x'].tolist() == ['n/a'] * 3
    assert nib.load(out.out_file).shape[3] == 3
    assert out.notes[0] == 'a'
    assert [words.split('volumes ')[1] for words in out.notes[1:]] == ['6.', '2.', '5.']


def test_without_a_correction_no_volume_is_judged_by_its_likeness(rng, save, oblique):
    head = ndimage.gaussian_filter(rng.random((20, 18, 16)), 2) * 1000
    volumes = np.stack([head] * 5, axis=-1) + rng.normal(0, 1, (20, 18, 16, 5))
    volumes[..., 3] = ndimage.gaussian_filter(rng.random((20, 18, 16)), 2) * 1000
    path = save(volumes.astype(np.float32), oblique)
    out = NoMotion(in_file=path, volumes=[*range(5)]).run().outputs
    table = pd.read_csv(out.confounds, sep='\t', keep_default_na=False)
    assert table['excluded'].tolist() == ['n/a'] * 5
    np.testing.assert_array_equal(nib.load(out.out_file).get_fdata(), nib.load(path).get_fdata())


@pytest.mark.slow
def test_the_head_says_less_than_the_brain_where_muscle_moves(tmp_path, save):
    from nibabel.affines import apply_affine

    from secondglance.models.weights import default_weights
    from secondglance.simulation.atlas import read_maps
    from secondglance.simulation.diffusion import draw_motion, simulate_dwi
    from secondglance.simulation.head_volume import simulate_head

    rng = np.random.default_rng(1)
    head = simulate_head(*read_maps(), rng)
    motion = draw_motion(4, rng, head.affine)
    muscle = draw_motion(4, rng, head.affine, mm=0.2, deg=0.3)
    voxels = simulate_dwi(head, rng, np.zeros(4), np.zeros((3, 4)), motion, muscle=muscle)
    path = save(voxels, head.affine)
    inputs = {'weights': str(default_weights()), 'species': 'rat', 'turn': '0', 'device': 'cpu'}
    out = SitkMotion(in_file=path, volumes=[0, 1, 2, 3], **inputs).run().outputs
    content = json.loads(Path(out.transforms).read_text())
    assert (content['EstimatedOn'], content['HeaderScale']) == ('brain', 1.0)
    assert (out.pose['species'], out.pose['quarter_turns']) == ('rat', 0)
    points = apply_affine(head.affine, np.argwhere(head.brain_mask))
    truth = np.linalg.inv(motion[content['reference']]) @ motion
    assert residual_displacement(content['head_matrices'], truth, points).mean() > 0.05
    assert residual_displacement(content['matrices'], truth, points).mean() <= 0.03
    assert pd.read_csv(out.confounds, sep='\t')['head_against_brain'].max() > 0.05


def test_the_brain_is_sought_in_the_mean_that_the_first_glance_gets(save, oblique, monkeypatch):
    rng = np.random.default_rng(5)
    head = ndimage.gaussian_filter(rng.random((20, 21, 12)), 2).astype(np.float32)
    moved = [ndimage.shift(head, (0.1 * t, 0, 0), order=3, mode='nearest') for t in range(4)]
    series = save(np.stack(moved, axis=-1), oblique)
    seen = []

    def region(model, voxels, *_):
        seen.append(voxels)

    monkeypatch.setattr('secondglance.models.brain_region.brain_region', region)
    engine = SitkMotion(in_file=series, volumes=[0, 1, 2, 3], weights=str(default_weights()))
    mean = MeanVolume(in_file=engine.run().outputs.out_file).run().outputs.out_file
    np.testing.assert_array_equal(seen[0], nib.load(mean).get_fdata(dtype=np.float32))


def test_a_half_turn_about_the_middle_of_the_scan_is_no_translation(fake_fsl, save, tmp_path):
    """The middle of 8 × 9 voxels of 2.5 × 3 mm is at 8.75 and 12 mm of FSL's tenfold frame."""
    turn = r'-1 0 0 17.5\n0 -1 0 24\n0 0 1 0\n0 0 0 1\n'
    still = r'1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n'
    fake = FAKE.split('t=0')[0] + ''.join(
        f'printf -- \'{rows}\' > "$2.mat/MAT_{t:04d}"\n'
        for t, rows in enumerate((still, turn, still))
    )
    (tmp_path / 'fsl/bin/mcflirt').write_text(fake)
    head = ndimage.gaussian_filter(np.random.default_rng(2).random((8, 9, 5)), 1)
    head += head[::-1, ::-1]
    affine = np.diag([-0.25, 0.3, 0.9, 1.0])
    affine[:3, 3] = 4, -3, 7
    path = save(np.stack([head] * 3, axis=-1).astype(np.float32), affine)
    out = McflirtMotion(in_file=path, volumes=[0, 1, 2]).run().outputs
    row = pd.read_csv(out.confounds, sep='\t').loc[1]
    np.testing.assert_allclose(row[list(PARAMETERS[:3])].astype(float), 0, atol=1e-4)
    assert abs(float(row['rot_z'])) == pytest.approx(np.pi, abs=1e-4)


def test_labels_are_no_scan(save, rng):
    labels = rng.integers(0, 4, (12, 12, 6, 2)).astype(np.int16)
    with pytest.raises(InputError, match='as a mask or labels do') as caught:
        SelectB0(in_file=str(save(labels)), all_b0=True).run()
    assert 'image.nii.gz' in str(caught.value)


def test_every_pass_inside_a_region_goes_on_from_the_last(fake_fsl, rng, tmp_path):
    """Two passes, each of which finds that a volume that was turned already moved once more."""
    affine = np.diag([-0.25, 0.3, 0.9, 1.0])
    volumes = rng.random((8, 9, 5, 3), dtype=np.float32)
    region = np.ones((8, 9, 5), bool)
    once = mcflirt_on_head(volumes, affine, tmp_path / 'one', 0).matrices[1, :3, 3]
    assert np.linalg.norm(once) == pytest.approx(0.5, abs=1e-6)
    start = MotionEstimate(np.tile(np.eye(4), (3, 1, 1)), 0)
    start.matrices[1:, 2, 3] = 0.1
    start.matrices[1, :2, :2] = [[0, -1], [1, 0]]
    found = mcflirt_in_region(volumes, affine, tmp_path / 'two', start, region)
    # What is found comes after the turn, and is not turned with it
    np.testing.assert_allclose(found.matrices[1, :3, 3], 2 * once + [0, 0, 0.1], atol=1e-6)
    np.testing.assert_allclose(found.matrices[1, :3, :3], start.matrices[1, :3, :3], atol=1e-6)
    np.testing.assert_allclose(found.matrices[2, :3, 3], [0, 0, 0.1], atol=1e-6)
    assert '-refvol 0' in (tmp_path / 'record').read_text()


def test_an_engine_that_is_asked_for_is_taken_whatever_is_installed(monkeypatch, tmp_path):
    monkeypatch.delenv('FSLDIR', raising=False)
    assert [resolve_engine(name) for name in ('auto', 'sitk', 'none')] == ['sitk', 'sitk', 'none']
    with pytest.raises(InputError, match='not set'):
        resolve_engine('fsl')
    mcflirt = tmp_path / 'bin' / 'mcflirt'
    mcflirt.parent.mkdir()
    mcflirt.write_text('#!/bin/sh')
    mcflirt.chmod(0o755)
    monkeypatch.setenv('FSLDIR', str(tmp_path))
    found = [resolve_engine(name) for name in ('auto', 'fsl', 'sitk', 'none')]
    assert found == ['fsl', 'fsl', 'sitk', 'none']


@pytest.mark.parametrize(('text', 'version'), [('6.0.7\n', '6.0.7'), (None, 'unknown')])
def test_the_version_of_fsl_goes_with_the_result(fake_fsl, series, tmp_path, text, version):
    if text is not None:
        (tmp_path / 'fsl' / 'etc').mkdir()
        (tmp_path / 'fsl' / 'etc' / 'fslversion').write_text(text)
    out = McflirtMotion(in_file=series, volumes=[0, 1, 2]).run().outputs
    about = json.loads(Path(out.engine).read_text())
    assert (about['engine'], about['engine_version']) == ('FSL MCFLIRT', version)


def test_inside_a_region_mcflirt_gets_what_the_last_pass_left(fake_fsl, rng, tmp_path):
    """Volumes where the estimate brings them, and nothing beyond a soft edge of one voxel."""
    affine = np.diag([-0.25, 0.3, 0.9, 1.0])
    volumes = rng.random((8, 9, 5, 3), dtype=np.float32)
    region = np.zeros((8, 9, 5), bool)
    region[2:6, 2:7, 1:4] = True
    start = MotionEstimate(np.tile(np.eye(4), (3, 1, 1)), 2)
    found = mcflirt_in_region(volumes, affine, tmp_path / 'work', start, region)
    given = nib.load(tmp_path / 'work' / 'scaled.nii.gz')
    # The second of two passes: by FSL's fake, volume 1 was moved once
    once = start.matrices.copy()
    once[1, :3, 3] = found.matrices[1, :3, 3] / 2
    weight = ndimage.gaussian_filter(region.astype(np.float32), 1.0)[..., None]
    expected = resample_motion(volumes, affine, once) * weight
    np.testing.assert_allclose(given.get_fdata(), expected, atol=1e-4)
    np.testing.assert_allclose(given.affine, np.diag([-2.5, 3, 9, 1]), rtol=1e-6)
    assert found.reference == 2
    assert '-refvol 2' in (tmp_path / 'record').read_text()


def test_a_type_of_output_that_is_set_is_kept(fake_fsl, series, tmp_path, monkeypatch):
    monkeypatch.setenv('FSLOUTPUTTYPE', 'NIFTI')
    (tmp_path / 'fsl/bin/mcflirt').write_text(FAKE.replace('"$*"', '"$FSLOUTPUTTYPE"'))
    McflirtMotion(in_file=series, volumes=[0, 1, 2]).run()
    assert fake_fsl.read_text() == 'NIFTI'
    monkeypatch.delenv('FSLOUTPUTTYPE')
    McflirtMotion(in_file=series, volumes=[0, 1, 2]).run()
    assert fake_fsl.read_text() == 'NIFTI_GZ'


@pytest.mark.parametrize('engine', [SitkMotion, NoMotion])
def test_motion_is_corrected_with_the_threads_and_along_the_axis_of_the_stage(
    engine, save, rng, monkeypatch
):
    class Enough(Exception):
        """No more is needed."""

    def asked(volumes, *_, **how):
        assert volumes.shape == (12, 11, 9, 3)
        assert (how['n_threads'], how['slice_axis']) == (3, 'j')
        raise Enough

    monkeypatch.setattr(preprocessing, 'correct_motion', asked)
    path = save(rng.uniform(50, 90, (12, 11, 9, 3)).astype('f4'))
    node = engine(in_file=str(path), volumes=[0, 1, 2], num_threads=3, slice_axis='j')
    with pytest.raises(Enough):
        node.run()
