"""The report is made of the files that it is given, each where it belongs."""

import json
from pathlib import Path

import numpy as np
import pytest

from secondglance import __version__
from secondglance.files.stacks import write_stack
from secondglance.files.tables import read_tsv, write_tsv
from secondglance.imaging.pose import Pose
from secondglance.interfaces.report import Report
from secondglance.pipelines.settings import Method
from secondglance.reports import figures, render
from secondglance.reports.citations import bibtex, citation_text
from secondglance.reports.data import RunRecord
from secondglance.reports.verdict import TWO_BRAINS, scan_warnings

SHAPE = (4, 32, 32)
POSE = Pose('rat', 0.3, 'k')


@pytest.fixture
def stacks(rng):
    """Stacks of a scan, each unlike the others."""
    x, y = np.indices(SHAPE[1:]) - 16
    brain = np.broadcast_to(x**2 + y**2 < 60, SHAPE)
    head = np.where(x**2 + y**2 < 150, rng.uniform(50, 90, SHAPE), 1.0)
    first, second = (rng.dirichlet((1, 1, 1, 1), SHAPE).transpose(0, 3, 1, 2) for _ in range(2))
    kernels = np.stack([np.where(brain, 0.5, 0), brain], axis=1)
    return {
        'stack': head,
        'saliency_stack': rng.normal(0, 1, SHAPE),
        'enhanced_stack': rng.random(SHAPE),
        'mask_stack': brain.astype(float),
        'placed_stack': np.roll(brain, 1, 1).astype(float),
        'kernel_stack': kernels,
        'first_probabilities_stack': first,
        'probabilities_stack': second,
        'labels_stack': rng.integers(1, 4, SHAPE).astype(float),
    }


@pytest.fixture
def given(stacks, tmp_path):
    """Inputs of a report, without those that may be missing."""
    affine = POSE.grid((32, 32, 4), np.diag([0.3, 0.3, 1, 1])).affine
    files = {
        name: write_stack(values.astype(np.float32), affine, tmp_path / f'{name}.nii')
        for name, values in stacks.items()
    }
    still = dict.fromkeys([*(f'trans_{a}' for a in 'xyz'), *(f'rot_{a}' for a in 'xyz')], 0.0)
    motion = [
        {'volume': n, **still, 'framewise_displacement': None if n == 0 else 0.1, 'excluded': None}
        for n in (0, 3, 5)
    ]
    motion[1]['trans_y'] = 0.7
    placed = {'donor': 0, 'shift_x_mm': 0.0, 'shift_y_mm': 0.0, 'found_x_mm': 0.3}
    placed |= {'found_y_mm': 0.0, 'peak': 0.6, 'peak_ratio': 2.0, 'confidence': 0.9}
    placed |= {'replaced': False, 'agreement': 0.9, 'probability': 0.8}
    tables = {
        'confounds': motion,
        'placement': [{'slice': n, 'donor_slice': n, **placed} for n in range(4)],
        'volumes': [
            {
                'label': name,
                'voxels': 10,
                'volume_mm3': volume,
                'volume_from_fractions_mm3': volume,
            }
            for name, volume in (('WM', 300.0), ('GM', 900.0), ('CSF', 100.0), ('brain', 1300.0))
        ],
    }
    settings = {**Method().resolved(), 'device': 'cpu', 'turn': '0'}
    plain = {
        'transforms': {'matrices': []},
        'engine': {'engine': 'SimpleITK', 'engine_version': '2', 'n_b0': 3}
        | {'b0_volumes': [0, 2, 3, 5], 'header_scale': 1.0, 'pixel_mm': 0.3},
        'donor': {'donor': 0, 'scores': [0.5] * len(settings['donors']), 'scale': 1.0},
        'lognormal': {
            'theoretical': [0.0, 1.0],
            'observed': [[0.0, 1.0]] * 4,
            'ks_distance': [0.1] * 4,
            'best': ['lognormal'] * 4,
        },
        'confidence': {'Method': 'network', 'MethodAskedFor': 'auto', 'Confidence': 0.9}
        | {'BrainVolume': 1300.0},
    }
    for name, rows in tables.items():
        files[name] = write_tsv(rows, str(tmp_path / f'{name}.tsv'))
    for name, content in plain.items():
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
        files[name] = str(tmp_path / f'{name}.json')
    return {
        'scan_name': 'sub-01_dwi',
        'source': '/data/sub-01_dwi.nii.gz',
        'settings': settings,
        'pose': POSE.to_plain(),
        **files,
    }


@pytest.fixture
def report(given, tmp_path, monkeypatch):
    """Return a function that writes a report, and gives what it shows and its page."""
    shown = []
    real = render.render_report

    def kept(data, page, figures):
        shown.append(data)
        real(data, page, figures)

    monkeypatch.setattr(render, 'render_report', kept)
    monkeypatch.setattr(figures, 'PICTURE_WIDTH', 200)
    monkeypatch.chdir(tmp_path)

    def _report(**more):
        out = Report(**given, **more).run(cwd=str(tmp_path)).outputs
        return shown[-1], open(out.out_file, encoding='utf-8').read()

    return _report


def test_every_stack_is_shown_as_what_it_is(report, stacks):
    data, page = report(known=['The header lies.'], notes=['It was scanned at night.'])
    brain = stacks['mask_stack'] >= 0.5
    for name, expected in (
        ('image', stacks['stack']),
        ('saliency', stacks['saliency_stack']),
        ('enhanced', stacks['enhanced_stack']),
        ('mask', brain),
        ('placed', stacks['placed_stack'] >= 0.5),
        ('kernels', stacks['kernel_stack']),
        ('first_labels', stacks['first_probabilities_stack'].argmax(1)),
        ('probabilities', stacks['probabilities_stack']),
        ('labels', np.where(brain, stacks['labels_stack'], 0)),
    ):
        np.testing.assert_allclose(getattr(data, name), expected, atol=1e-6, err_msg=name)
    assert data.warnings[:2] == ['The header lies.', 'It was scanned at night.']
    assert 'The header lies.' in page
    assert [row['slice'] for row in data.placement] == [0, 1, 2, 3]
    assert data.confounds['trans_y'].tolist() == [0, 0.7, 0]
    assert data.settings['mask_taken'] == 'network'
    assert data.summary['Slices'].startswith('4, 1 mm apart, at 0.3 mm')
    assert (data.image_name, data.summary['Mask method']) == ('Mean of 3 b0 volumes', 'network')
    # Nothing is made up of what was not given
    assert not data.metrics
    assert data.reference is None
    assert data.regions is None
    assert not data.compared
    assert not data.explained


def test_a_reference_comes_with_its_scores(report, given, stacks, tmp_path, rng):
    reference = rng.integers(0, 4, SHAPE)
    affine = POSE.grid((32, 32, 4), np.diag([0.3, 0.3, 1, 1])).affine
    path = write_stack(reference.astype(np.float32), affine, tmp_path / 'reference.nii')
    scores = dict.fromkeys(('accuracy', 'specificity', 'sensitivity', 'precision'), 0.5)
    rows = [{'label': name, **scores, 'dsc': 0.912, 'hd95_mm': 0.4} for name in ('WM', 'brain')]
    table = write_tsv(rows, str(tmp_path / 'metrics.tsv'))
    slices = write_tsv([{'slice': 2, **row} for row in rows], str(tmp_path / 'slices.tsv'))
    data, page = report(metrics=table, slice_metrics=slices, reference_stack=path)
    assert [row['dsc'] for row in data.metrics] == [0.912, 0.912]
    assert [row['slice'] for row in data.slice_scores] == [2, 2]
    np.testing.assert_array_equal(data.reference, reference)
    assert '0.912' in page


def test_regions_and_further_maps_are_shown_by_their_names(report, given, tmp_path, rng, save):
    regions = rng.integers(0, 3, (32, 32, 4)).astype(np.int16)
    affine = np.diag([0.3, 0.3, 1, 1])
    table = [
        {'index': n, 'name': f'region {n}', 'abbreviation': f'r{n}', 'color': '#000000'}
        for n in (1, 2)
    ]
    names = write_tsv(table, str(tmp_path / 'regions.tsv'))
    on_stack = POSE.grid((32, 32, 4), affine)
    maps = [rng.normal(0, 1, SHAPE).astype(np.float32) for _ in range(2)]
    paths = [write_stack(m, on_stack.affine, tmp_path / f'map{n}.nii') for n, m in enumerate(maps)]
    data, _ = report(
        regions=str(save(regions, affine, 'regions.nii')),
        regions_table=names,
        map_stacks=paths,
        map_names=['CSF', 'WM'],
    )
    np.testing.assert_array_equal(data.regions, on_stack.to_stack(regions, order=0))
    assert data.region_names == {1: 'region 1', 2: 'region 2'}
    assert list(data.explained) == ['CSF', 'WM']
    for found, expected in zip(data.explained.values(), maps, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_volume_that_moved_most_is_shown_before_and_after(report, rng, save):
    """Volume 3 of the scan: the fourth that was read is the third one, for 2 was left out."""
    affine = np.diag([0.3, 0.3, 1, 1])
    before, after = (rng.random((32, 32, 4, n), dtype=np.float32) for n in (4, 3))
    data, _ = report(
        b0_uncorrected=str(save(before, affine, 'before.nii')),
        b0_series=str(save(after, affine, 'after.nii')),
    )
    grid = POSE.grid((32, 32, 4), affine)
    shown = list(data.compared.items())
    assert [name.split(' its')[0] for name, _ in shown] == ['Volume 3 before', 'Volume 3 after']
    assert '0.70 mm' in shown[0][0]
    np.testing.assert_array_equal(shown[0][1], grid.to_stack(before[..., 2]))
    np.testing.assert_array_equal(shown[1][1], grid.to_stack(after[..., 1]))


def test_versions_are_those_of_the_libraries_and_one_that_is_missing_is_said(report, monkeypatch):
    monkeypatch.setattr('secondglance.interfaces.report.VERSIONS', ('numpy', 'no-such-library'))
    data, page = report()
    assert data.versions['numpy'] == np.__version__
    assert 'no-such-library not installed' in page


def test_pages_figures_and_citations_are_named_and_written_in_full(given, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, 'PICTURE_WIDTH', 200)
    monkeypatch.chdir(tmp_path)
    shown = []
    real = render.render_report
    monkeypatch.setattr(
        render, 'render_report', lambda data, *a: (shown.append(data), real(data, *a))
    )
    out = Report(**given, suffix='T2w').run(cwd=str(tmp_path)).outputs
    (data,) = shown
    assert out.out_file == str(tmp_path / 'sub-01_dwi.html')
    assert out.figures == str(tmp_path / 'figures')
    assert list((tmp_path / 'figures').iterdir())
    assert out.warnings == data.warnings
    assert (data.title, data.source) == ('sub-01_dwi', '/data/sub-01_dwi.nii.gz')
    assert Path(out.citation_md).read_text() == citation_text(data.methods)
    assert Path(out.citation_bib).read_text() == bibtex(data.methods, __version__)
    assert data.versions['secondglance'] == __version__
    # What the volumes are called depends on the suffix
    assert data.image_name == 'Mean of 3 volumes'
    assert list(data.volumes[0]) == [
        *('label', 'voxels', 'volume_mm3', 'volume_from_fractions_mm3'),
    ]
    assert data.lognormal['best'] == ['lognormal'] * 4


def test_pixels_that_are_half_brain_are_brain(report, given, stacks, tmp_path):
    half = np.where(stacks['mask_stack'] > 0, 0.5, 0.499).astype(np.float32)
    affine = POSE.grid((32, 32, 4), np.diag([0.3, 0.3, 1, 1])).affine
    given['mask_stack'] = write_stack(half, affine, tmp_path / 'half.nii')
    given['placed_stack'] = write_stack(half, affine, tmp_path / 'half_placed.nii')
    data, _ = report()
    np.testing.assert_array_equal(data.mask, stacks['mask_stack'] > 0)
    np.testing.assert_array_equal(data.placed, stacks['mask_stack'] > 0)


@pytest.mark.parametrize('case', ['no engine', 'nothing moved'])
def test_without_a_correction_nothing_is_shown_before_and_after(
    report, given, rng, save, tmp_path, case
):
    affine = np.diag([0.3, 0.3, 1, 1])
    path = str(save(rng.random((32, 32, 4, 4), dtype=np.float32), affine, 'b0.nii'))
    engine = json.loads(Path(given['engine']).read_text())
    if case == 'no engine':
        engine['engine'] = 'none: one volume'
    else:
        still = dict.fromkeys([*(f'trans_{a}' for a in 'xyz'), *(f'rot_{a}' for a in 'xyz')], 0.0)
        rows = [{'volume': 0, **still, 'framewise_displacement': None, 'excluded': None}]
        given['confounds'] = write_tsv(rows, str(tmp_path / 'still.tsv'))
    (tmp_path / 'engine.json').write_text(json.dumps(engine))
    data, _ = report(b0_uncorrected=path, b0_series=path)
    assert data.compared == {}


@pytest.mark.parametrize('background', [0.49, 0.5])
def test_warnings_are_those_of_what_is_more_likely_brain_than_not(
    report, given, stacks, tmp_path, background
):
    """The first glance takes two pieces for brain, or nothing."""
    first = np.zeros((4, 4, 32, 32), np.float32)
    first[:, 0] = 1
    for piece in (slice(0, 15), slice(17, 32)):
        first[:, :, :, piece] = np.array([background, 1 - background, 0, 0])[:, None, None]
    affine = np.diag([0.6, 0.6, 1, 1])
    for name in ('stack', 'mask_stack'):
        path = tmp_path / f'coarse_{name}.nii'
        given[name] = write_stack(stacks[name].astype(np.float32), affine, path)
    given['first_probabilities_stack'] = write_stack(first, affine, tmp_path / 'two.nii')
    data, _ = report(known=['a'], notes=['b'])
    record = RunRecord(
        settings=data.settings,
        pose=POSE,
        **{name: json.loads(Path(given[name]).read_text()) for name in ('engine', 'donor')},
        confidence=json.loads(Path(given['confidence']).read_text()),
        **{name: read_tsv(given[name]) for name in ('placement', 'confounds', 'volumes')},
    )
    mask = stacks['mask_stack'] >= 0.5
    image = stacks['stack'].astype(np.float32)
    expected = scan_warnings(image, mask, first[:, 0] < 0.5, affine, record)
    assert data.warnings == ['a', 'b', *expected]
    two = TWO_BRAINS.split('{')[0]
    assert any(two in warning for warning in data.warnings) == (background < 0.5)
