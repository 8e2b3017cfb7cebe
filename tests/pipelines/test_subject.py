"""The whole graph, on a phantom with known truth and on a real rat."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from secondglance.data import donor_paths, example_rat
from secondglance.files.bids import find_donor
from secondglance.imaging.metrics import dice
from secondglance.models.weights import default_weights
from secondglance.workflows import main

RAT = 'sub-02/func/sub-02_task-rest_space-sbref'
"""Beginning of the names of what is found of the example's real rat."""

MOTION = 'sub-01/dwi/sub-01_from-orig_to-dwiref_mode-image_desc-hmc_xfm.json'

pytestmark = pytest.mark.slow


class Run:
    """One call of the command line, and what it left."""

    def __init__(self, folder, example):
        self.folder, self.example = folder, example

    def __call__(self, *options, output='out', work='work', subject=('sub-01', 'sub-02')):
        return main(
            [
                *('run', '--subject', *subject, '--bids-dir', str(self.example)),
                *('--output-dir', str(self.folder / output)),
                *('--work-dir', str(self.folder / work), '--nprocs', '1', *options),
            ]
        )

    def load(self, name, output='out'):
        return nib.load(self.folder / output / name)

    def table(self, name, output='out'):
        return pd.read_csv(self.folder / output / name, sep='\t')

    def results(self):
        """Time stamps of the results of all nodes: one that ran again has a new one."""
        return {
            str(p.parent.relative_to(self.folder)): p.stat().st_mtime_ns
            for p in (self.folder / 'work').rglob('result_*.pklz')
        }


@pytest.fixture(scope='module')
def run(tmp_path_factory, example):
    run = Run(tmp_path_factory.mktemp('a folder'), example)
    assert run() == 0
    return run


def test_phantom_is_segmented_as_it_was_made(run):
    scores = run.table('sub-01/dwi/sub-01_desc-metrics_scores.tsv').set_index('label')['dsc']
    # A little below what was measured: 0.982, 0.917, 0.830 and 0.727
    assert scores['brain'] > 0.975
    assert scores['GM'] > 0.905
    assert scores['WM'] > 0.81
    assert scores['CSF'] > 0.70


def test_real_rat_is_found(run):
    scores = run.table(f'{RAT}_desc-metrics_scores.tsv').set_index('label')['dsc']
    assert list(scores.index) == ['brain']
    assert scores['brain'] > 0.97


@pytest.mark.parametrize('told', [False, True])
def test_a_head_on_its_back_is_turned_and_results_keep_its_orientation(run, tmp_path, told):
    image_path, _ = example_rat()
    image = nib.load(image_path)
    assert nib.aff2axcodes(image.affine)[:2] == ('R', 'S')
    upside_down = tmp_path / 'study/sub-02/anat/sub-02_T2w.nii.gz'
    upside_down.parent.mkdir(parents=True)
    shutil.copy(run.example / 'dataset_description.json', tmp_path / 'study')
    voxels = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(voxels[::-1, ::-1], image.affine), upside_down)
    options = ['--suffix', 'T2w', '--turn', '180'] if told else ['--suffix', 'T2w']
    back = Run(tmp_path, tmp_path / 'study')
    assert back(*options, subject=['sub-02']) == 0
    found = (
        back.load('sub-02/anat/sub-02_space-T2w_desc-brain_mask.nii.gz').get_fdata()[::-1, ::-1]
        > 0
    )
    right = run.load(f'{RAT}_desc-brain_mask.nii.gz').get_fdata() > 0
    # Pixels lie where the world's origin puts them: not quite the same ones of a turned head
    assert dice(found, right) > 0.985
    tissues = [
        loaded.get_fdata()
        for loaded in (
            back.load('sub-02/anat/sub-02_space-T2w_dseg.nii.gz'),
            run.load(f'{RAT}_dseg.nii.gz'),
        )
    ]
    assert dice(tissues[0][::-1, ::-1] == 1, tissues[1] == 1) > 0.96
    page = (tmp_path / 'out/sub-02_T2w.html').read_text()
    assert 'turned by 180°' in page
    assert ('turned by 180 degrees from what the header says' in page) is not told


def test_known_motion_is_undone(run):
    truth = json.loads(
        (run.example / 'derivatives/reference/sub-01/dwi/sub-01_desc-motion_xfm.json').read_text()
    )
    found = json.loads((run.folder / 'out' / MOTION).read_text())
    true = np.array(truth['matrices'])
    mask = nib.load(run.example / 'derivatives/reference/sub-01/dwi/sub-01_desc-brain_mask.nii.gz')
    points = nib.affines.apply_affine(mask.affine, np.argwhere(mask.get_fdata() > 0))
    for volume, matrix in zip(found['volumes'], found['matrices'], strict=True):
        expected = np.linalg.inv(true[found['reference']]) @ true[volume]
        left = nib.affines.apply_affine(np.array(matrix), points)
        left = left - nib.affines.apply_affine(expected, points)
        assert np.linalg.norm(left, axis=1).mean() <= 0.02


def test_everything_lies_on_the_grid_of_the_input(run):
    for name in ('sub-01/dwi/sub-01_dwi', 'sub-02/func/sub-02_task-rest_sbref'):
        raw = nib.load(run.example / f'{name}.nii.gz')
        images = sorted((run.folder / 'out' / name).parent.glob('*.nii.gz'))
        assert len(images) == 10
        for path in images:
            image = nib.load(path)
            assert image.shape == raw.shape[:3], path.name
            np.testing.assert_allclose(image.affine, raw.affine, atol=1e-5)
            assert np.isfinite(image.get_fdata()).all()


def test_the_official_validator_finds_no_error(run, bids_errors):
    assert bids_errors(run.example) == []
    assert bids_errors(run.example / 'derivatives' / 'reference') == []
    assert bids_errors(run.folder / 'out') == []


def test_the_validator_finds_what_is_wrong(run, bids_errors, tmp_path):
    spoilt = tmp_path / 'out'
    shutil.copytree(run.folder / 'out', spoilt)
    (spoilt / '.bidsignore').write_text('')
    (spoilt / f'{RAT}_dseg.json').unlink()
    found = bids_errors(spoilt)
    assert any('_dseg.nii.gz' in error and 'SpatialReference' in error for error in found)
    assert any('NOT_INCLUDED' in error for error in found)


def test_every_image_table_and_transform_has_its_json(run):
    out = run.folder / 'out'
    ends = ('.nii.gz', '.tsv', '.h5', '.txt')
    named = [p for p in out.glob('sub-*/*/*') if p.name.endswith(ends)]
    assert len(named) > 30
    for path in named:
        end = next(end for end in ends if path.name.endswith(end))
        told = json.loads(path.with_name(path.name.replace(end, '.json')).read_text())
        assert told['Sources'][0].startswith('bids:raw:sub-'), path.name
        if end == '.nii.gz':
            assert told['SpatialReference'] == told['Sources'][0], path.name
        if end == '.tsv':
            columns = path.read_text().partition('\n')[0].split('\t')
            # BIDS itself says what the columns of a table of labels are
            assert 'dseg' in path.name or set(columns) <= set(told), path.name
    cards = out.glob('sub-*/*/*.json')
    assert [p for p in cards if not list(p.parent.glob(f'{p.stem}.[!j]*'))] == []


def test_links_lead_to_the_data_set(run):
    from urllib.parse import unquote, urlparse

    told = json.loads((run.folder / 'out/dataset_description.json').read_text())
    assert Path(unquote(urlparse(told['DatasetLinks']['raw']).path)) == run.example
    source = json.loads((run.folder / f'out/{RAT}_dseg.json').read_text())['Sources'][0]
    assert (run.example / source.removeprefix('bids:raw:')).is_file()


def test_the_transform_brings_the_atlas_to_the_scan(run):
    """As its name says: the atlas' regions, resampled by it, are the regions that were found."""
    import SimpleITK as sitk

    from secondglance.data import regions_path

    atlas = sitk.ReadImage(str(regions_path('rat') / 'regions.nii.gz'))
    scan = sitk.ReadImage(str(run.folder / f'out/{RAT}_desc-regions_dseg.nii.gz'))
    name = f'out/{RAT}_from-atlas_to-sbref_mode-image_xfm.h5'
    transform = sitk.ReadTransform(str(run.folder / name))
    moved = sitk.Resample(atlas, scan, transform, sitk.sitkNearestNeighbor)
    one, other = sitk.GetArrayFromImage(moved), sitk.GetArrayFromImage(scan)
    inside = other > 0
    assert (one[inside] == other[inside]).mean() > 0.9


def test_outputs_agree_with_each_other(run):
    name = RAT
    labels = run.load(f'{name}_dseg.nii.gz').get_fdata()
    mask = run.load(f'{name}_desc-brain_mask.nii.gz').get_fdata()
    tissues = np.stack(
        [run.load(f'{name}_label-{t}_probseg.nii.gz').get_fdata() for t in ('WM', 'GM', 'CSF')]
    )
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert not labels[mask == 0].any()
    assert not tissues[:, mask == 0].any()
    assert tissues.sum(0).max() <= 1 + 1e-5
    where = labels > 0
    # Fractions are WM, GM, CSF; labels 1 GM, 2 WM, 3 CSF
    np.testing.assert_array_equal(np.array([2, 1, 3])[tissues.argmax(0)[where]], labels[where])
    volumes = run.table(f'{name}_desc-tissue_volumes.tsv').set_index('label')['volume_mm3']
    # The voxels of this rat are 0.25 × 0.25 × 1 mm
    assert volumes['brain'] == pytest.approx((labels > 0).sum() * 0.0625, rel=1e-3)
    share = run.load(f'{name}_label-brain_probseg.nii.gz').get_fdata()
    assert 0 <= share.min() < share.max() <= 1 + 1e-5
    whole = run.table(f'{name}_desc-tissue_volumes.tsv').set_index('label')
    told = whole['volume_from_fractions_mm3']
    assert told['brain'] == pytest.approx(share.sum() * 0.0625, rel=1e-3)
    assert told['brain'] == pytest.approx(told[['WM', 'GM', 'CSF']].sum(), rel=1e-3)
    # Inside, voxels are brain as a whole; at the rim they are not
    deep = ndimage.binary_erosion(mask, np.ones((5, 5, 3)))
    assert share[deep].mean() > 0.97
    rim = (mask > 0) & ~ndimage.binary_erosion(mask, np.ones((3, 3, 1)))
    assert 0.4 < share[rim].mean() < 0.95
    enhanced = run.load(f'{name}_desc-enhanced_saliency.nii.gz').get_fdata()
    assert enhanced.min() >= 0
    assert enhanced.max() <= 1 + 1e-5
    assert enhanced.std() > 0.05


def test_report_is_there_and_holds_its_figures(run):
    import re

    for name in ('sub-01', 'sub-02_task-rest_sbref'):
        page = (run.folder / f'out/{name}.html').read_text()
        figures = re.findall(r'src="([^"]+)"', page)
        assert len(figures) >= 7
        assert all(figure.startswith('data:image/') for figure in figures)
        assert len(page) < 4e6
    assert 'SimpleITK' in (run.folder / 'out/sub-01.html').read_text()


def test_references_of_what_ran_lie_beside_its_settings(run):
    logs = run.folder / 'out/logs'
    text, entries = ((logs / f'sub-01_dwi_CITATION.{kind}').read_text() for kind in ('md', 'bib'))
    assert 'segmented with secondglance' in text
    assert '@inproceedings{matos2019,' in entries
    assert entries.count('doi = ') + entries.count('eprint = ') == text.count('\n- ')


def test_settings_are_written_as_toml(run):
    import tomllib

    settings = tomllib.loads((run.folder / 'out/logs/sub-01_dwi.toml').read_text())
    assert settings['motion'] == 'sitk'
    assert settings['saliency'] == 'guided'


def test_nothing_changed_runs_nothing(run):
    before = run.results()
    assert run() == 0
    after = run.results()
    ran = {name for name in after if after[name] != before.get(name)}
    assert {name.split('/')[-1] for name in ran} <= {'publish'}


def test_deleted_output_is_restored_from_the_cache(run):
    before = run.results()
    target = run.folder / f'out/{RAT}_dseg.nii.gz'
    content = target.read_bytes()
    target.unlink()
    assert run(subject=['sub-02']) == 0
    assert target.read_bytes() == content
    after = run.results()
    assert {n.split('/')[-1] for n in after if after[n] != before[n]} <= {'publish'}


def test_other_weights_run_the_network_again_but_not_the_selection(run, tmp_path):
    torch = pytest.importorskip('torch')
    from secondglance.models.weights import load_weights, save_weights

    loaded = load_weights(default_weights())
    with torch.no_grad():
        next(loaded.net.parameters()).mul_(1.01)
    other = tmp_path / 'other.safetensors'
    save_weights(loaded.net, other)
    before = run.results()
    assert run('--weights', str(other), subject=['sub-01'], output='other') == 0
    after = run.results()
    again = {n.split('/')[-1] for n in after if 'sub_01' in n and after[n] != before.get(n)}
    ran = {n.rstrip('0123456789').lstrip('_') for n in again}
    assert {'first_glance', 'donor_saliency', 'place', 'refine'} <= ran
    # Motion is estimated on the brain of the first glance
    assert 'motion_correction' in again
    assert 'select_b0' not in again


def test_another_engine_is_not_answered_from_the_cache(run):
    assert run('--motion', 'none', subject=['sub-01'], output='still') == 0
    path = run.folder / 'still' / MOTION
    for matrix in json.loads(path.read_text())['matrices']:
        np.testing.assert_array_equal(matrix, np.eye(4))
    assert 'averaged without motion correction' in (run.folder / 'still/sub-01.html').read_text()


def test_slabs_and_processes_do_not_change_the_result(run, capfd):
    options = ('--slices-per-job', '5', '--nprocs', '2')
    assert run(*options, subject=['sub-02'], output='slabs', work='work slabs') == 0
    # Processes of the engine are as silent as this one
    assert 'nipype' not in capfd.readouterr().err
    for path in sorted((run.folder / 'out/sub-02/func').glob('*.nii.gz')):
        other = run.load(f'sub-02/func/{path.name}', 'slabs').get_fdata()
        differs = np.abs(other - nib.load(path).get_fdata()) > 1e-3
        # The last bit of a sum may differ with the size of a batch, and so a label at a draw
        assert differs.mean() < 1e-4, path.name


@pytest.mark.parametrize('seed', [0, 1])
def test_shifted_copy_of_the_donors_brain_is_found_exactly(seed):
    """In another head, with other noise, the donor's own brain moved by whole pixels."""
    from scipy import ndimage

    from secondglance.imaging.enhancement import enhance
    from secondglance.imaging.grids import slice_grid
    from secondglance.imaging.placement.correlation import best_shift, correlate, standardise
    from secondglance.models.saliency.attribution import saliency_stack
    from secondglance.models.weights import load_weights
    from secondglance.simulation.atlas import read_maps
    from secondglance.simulation.diffusion import simulate_dwi
    from secondglance.simulation.head_volume import oblique_affine, simulate_head

    model = load_weights(default_weights())
    rng = np.random.default_rng([9, seed])
    affine = oblique_affine(rng)
    grid = slice_grid((64, 64, 40), affine, model.spacing)
    donor, other = (simulate_head(*read_maps(), rng, affine=affine) for _ in range(2))

    def scan(head, texture):
        image = simulate_dwi(
            head, np.random.default_rng(texture), [0], np.zeros((3, 1)), np.eye(4)[None], bias=0
        )
        return grid.to_stack(image[..., 0])

    brain, others_brain = (grid.to_stack(h.brain_mask) >= 0.5 for h in (donor, other))
    near = np.ones((1, 5, 5))
    gap = ndimage.binary_dilation(others_brain, near)
    background = np.where(gap, 60 * rng.rayleigh(size=gap.shape), scan(other, 2))
    shift = rng.integers(-5, 6, 2)
    moved = np.roll(ndimage.binary_dilation(brain, near), shift, (1, 2))
    subject = np.where(moved, np.roll(scan(donor, 1), shift, (1, 2)), background)

    own, other = (
        enhance(saliency_stack(model, stack.astype(np.float32))[0])
        for stack in (scan(donor, 3), subject)
    )
    kernels = standardise(np.where(brain, own, 0))
    found, _, _ = best_shift(correlate(standardise(other), kernels))
    large = brain.sum((1, 2)) > 60
    assert large.sum() > 30
    assert (found[large] == shift).all(1).mean() >= 0.95


@pytest.mark.parametrize(
    ('factor', 'options', 'species'),
    [(0.65, (), 'mouse'), (0.65, ('--species', 'mouse'), 'mouse'), (10, (), 'rat')],
)
def test_a_head_is_seen_as_large_as_a_rat(run, tmp_path, factor, options, species):
    """The real rat with other voxels: a mouse by its size, or a header scaled for human software.

    It looks the same, on the grid that it came on, and volumes are the animal's.
    """
    other = tmp_path / 'heads'
    shutil.copytree(run.example, other)
    for path in other.rglob('sub-02*.nii.gz'):
        image = nib.load(path)
        scaled = np.diag([factor, factor, factor, 1.0]) @ image.affine
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), scaled), path)
    call = ['run', '--subject', 'sub-02', '--bids-dir', str(other), *options]
    call += ['--output-dir', str(tmp_path / 'out'), '--work-dir', str(tmp_path / 'work')]
    assert main(call) == 0
    stem = f'{RAT}_'
    found = nib.load(tmp_path / f'out/{stem}desc-brain_mask.nii.gz')
    known = run.load(f'{stem}desc-brain_mask.nii.gz')
    assert dice(np.asarray(found.dataobj) > 0, np.asarray(known.dataobj) > 0) > 0.97
    np.testing.assert_allclose(
        found.affine, np.diag([factor, factor, factor, 1.0]) @ known.affine, rtol=1e-5
    )
    told = json.loads((tmp_path / f'out/{stem}desc-brain_mask.json').read_text())
    before = json.loads((run.folder / f'out/{stem}desc-brain_mask.json').read_text())
    assert told['Species'] == species
    size = 1 if factor == 10 else factor**3
    assert told['BrainVolume'] == pytest.approx(before['BrainVolume'] * size, rel=0.03)
    volumes = pd.read_csv(tmp_path / f'out/{stem}desc-tissue_volumes.tsv', sep='\t')
    brain = volumes.set_index('label').loc['brain', 'volume_mm3']
    assert brain == pytest.approx(told['BrainVolume'], rel=0.05)
    report = (tmp_path / 'out/sub-02_task-rest_sbref.html').read_text()
    assert ('voxel sizes multiplied by 10' in report) == (factor == 10)


def test_donor_folder_of_a_user_is_taken(run, tmp_path):
    image, mask = find_donor(donor_paths()[0])
    folder = tmp_path / 'my rat'
    folder.mkdir()
    shutil.copy(image, folder / 'head.nii.gz')
    shutil.copy(mask, folder / 'head_mask.nii.gz')
    assert run('--donor', str(folder), subject=['sub-02'], output='mine', work='mine work') == 0
    assert 'my rat' in (run.folder / 'mine/sub-02_task-rest_sbref.html').read_text()


def test_the_example_is_not_a_donor():
    name = example_rat()[0].read_bytes()
    assert all(find_donor(folder)[0].read_bytes() != name for folder in donor_paths())


def test_heads_that_are_not_what_they_seem_are_flagged(run, tmp_path):
    """A head with reversed slices and a lost one, and one of noise."""
    image, mask = (nib.load(path) for path in example_rat())
    voxels, brain = (np.asarray(i.dataobj).copy()[:, :, ::-1] for i in (image, mask))
    lost = voxels.shape[2] // 2
    voxels[:, :, lost] = brain[:, :, lost] = 0
    noise = np.random.default_rng(0).rayleigh(100, voxels.shape)
    study = tmp_path / 'study'
    for label, content in (('01', voxels), ('02', noise)):
        path = study / f'sub-{label}/anat/sub-{label}_T2w.nii.gz'
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(content.astype(np.float32), image.affine), path)
    (study / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    call = ['run', '--subject', 'all', '--bids-dir', str(study), '--suffix', 'T2w']
    call += ['--work-dir', str(run.folder / 'work'), '--nprocs', '1']
    assert main([*call, '--output-dir', str(tmp_path / 'out')]) == 0
    table = pd.read_csv(tmp_path / 'out/cohort.tsv', sep='\t', keep_default_na=False)
    rows = table.set_index('scan')['flags']
    assert 'run the other way' in rows['sub-01_T2w']
    assert 'doubtful' in rows['sub-02_T2w'] or 'No brain' in rows['sub-02_T2w']
    found = nib.load(tmp_path / 'out/sub-01/anat/sub-01_space-T2w_desc-brain_mask.nii.gz')
    found = np.asarray(found.dataobj) > 0
    assert 2 * (found & (brain > 0)).sum() / (found.sum() + (brain > 0).sum()) > 0.95
    assert not found[:, :, lost].any()
    assert f'without signal: {lost}' in (tmp_path / 'out/sub-01_T2w.html').read_text()
