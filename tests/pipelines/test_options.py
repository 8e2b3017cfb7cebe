"""Every option of a method and of its execution reaches its stages, and no others."""

import shutil

import pytest
from nipype.interfaces.base import isdefined

from secondglance.files.bids import find_scans
from secondglance.files.labels import labels_table
from secondglance.imaging.pose import Pose
from secondglance.models.unet import UNet
from secondglance.models.weights import (
    default_refinement,
    default_second_glance,
    default_weights,
    save_weights,
)
from secondglance.pipelines import (
    Execution,
    Method,
    SaliencyOptions,
    init_subject_wf,
    init_tissues_wf,
)

SETTINGS = {
    'outputs_wf.report.settings',
    'outputs_wf.publish.texts',
    'outputs_wf.publish.sidecars',
}
"""Where all that is asked for is written down."""

FIRST = ('brain_wf.first_glance', 'brain_wf.donor_saliency', 'explain_wf.explain')
"""Stages that compute saliency."""

HEAD = ('preproc_wf.motion_correction', 'brain_wf.pose')
"""Stages that estimate how a head lies."""

NETWORKS = (*HEAD, *FIRST, 'brain_wf.refine', 'tissues_wf.look_again')


@pytest.fixture(scope='module')
def inputs(example, tmp_path_factory):
    """Return a function that gives what every stage of a scan is given when its graph is built."""
    tmp_path = tmp_path_factory.mktemp('graphs')

    def _inputs(execution=None, **options):
        options = {'save_preproc': True, 'explain': ('GM',), **options}
        workflow = init_subject_wf(
            scan=find_scans(example, '01')[0],
            output_dir=tmp_path / 'out',
            method=Method(**options),
            execution=execution or Execution(),
            cache_dir=tmp_path / 'cache',
        )
        return {
            f'{name}.{field}': value
            for name in workflow.list_node_names()
            for field, value in workflow.get_node(name).inputs.get().items()
            if isdefined(value)
        }

    return _inputs


@pytest.fixture(scope='module')
def changed(inputs):
    """Return a function that gives which of these an option changes, and to what."""
    before = inputs()

    def _changed(**options):
        after = inputs(**options)
        assert any(before[name] != after[name] for name in SETTINGS)
        return {
            name: after.get(name)
            for name in (before.keys() | after.keys()) - SETTINGS
            if before.get(name) != after.get(name)
        }

    return _changed


def at(names, **values):
    return {f'{name}.{field}': value for name in names for field, value in values.items()}


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'voxel_scale': 0.1}, {'preproc_wf.select_b0.voxel_scale': 0.1}),
        (
            {'b0_threshold': 7.0},
            at(('preproc_wf.select_b0', 'series_wf.correct_series'), threshold=7.0),
        ),
        ({'all_b0': True}, {'preproc_wf.select_b0.all_b0': True}),
        ({'species': 'mouse'}, at(HEAD, species='mouse')),
        ({'slice_axis': 'j'}, at(HEAD, slice_axis='j')),
        ({'turn': '180'}, at(HEAD, turn='180')),
        ({'mask_method': 'first-glance'}, {'brain_wf.brain.method': 'first-glance'}),
        (
            {'mask_method': 'similarity'},
            {'brain_wf.brain.method': 'similarity', 'brain_wf.place.similarity': True},
        ),
        ({'regions': False}, {'tissues_wf.look_again.atlases': {}}),
        ({'explain_region': (3, 4, 5)}, {'explain_wf.explain.voxel': [3, 4, 5]}),
        (
            {'saliency': SaliencyOptions('gradient', 'CSF', 3, 1.5, 0.25)},
            {
                **at(FIRST, method='gradient', smooth=3),
                **at(FIRST[:2], target='CSF'),
                **at(('brain_wf.enhance', 'brain_wf.donor_saliency'), peak=1.5, width=0.25),
            },
        ),
    ],
)
def test_an_option_reaches_its_stages_and_no_other(changed, options, expected):
    found = changed(**options)
    # Names of the maps that are explained, and of the files that they become
    found.pop('outputs_wf.report.map_names', None)
    assert found == expected


@pytest.mark.parametrize(
    ('option', 'shipped', 'stages'),
    [
        ('weights', default_weights, [f'{name}.weights' for name in (*HEAD, *FIRST)]),
        (
            'refinement',
            default_refinement,
            ['brain_wf.refine.weights', 'brain_wf.brain.refinement'],
        ),
        ('second_weights', default_second_glance, ['tissues_wf.look_again.weights']),
    ],
)
def test_weights_of_ones_own_reach_their_stages(changed, tmp_path, option, shipped, stages):
    own = tmp_path / 'own.safetensors'
    shutil.copy(shipped(), own)
    assert changed(**{option: own}) == dict.fromkeys(stages, str(own))


def test_donors_of_ones_own_are_the_only_ones(changed, tmp_path):
    own = []
    for name in ('head.nii.gz', 'mask.nii.gz'):
        (tmp_path / name).write_bytes(b'x')
        own.append(tmp_path / name)
    assert changed(donors=(tuple(own),)) == {
        'brain_wf.donor_saliency.images': [str(own[0])],
        'brain_wf.donor_saliency.masks': [str(own[1])],
    }


def test_an_atlas_of_ones_own_is_that_of_every_species(changed, tmp_path):
    atlases = {'rat': str(tmp_path), 'mouse': str(tmp_path)}
    assert changed(atlas=tmp_path) == {'tissues_wf.look_again.atlases': atlases}


def test_a_region_is_explained_alone(changed, tmp_path):
    mask = tmp_path / 'mask.nii.gz'
    mask.write_bytes(b'x')
    found = changed(explain_region=mask)
    assert found.pop('outputs_wf.report.map_names') == ['GMregion']
    assert found == {'explain_wf.explain.region': str(mask)}


def test_without_motion_correction_the_engine_is_none_and_nothing_is_estimated(changed):
    found = changed(motion='none')
    assert found['series_wf.correct_series.estimate'] is False
    assert found['preproc_wf.motion_correction.engine'] == 'none'
    assert len(found) == 2


def test_device_and_threads_reach_every_network(inputs):
    given = inputs(Execution(device='cpu', threads=3, nprocs=2, slices_per_job=7))
    for name in NETWORKS:
        assert given[f'{name}.device'] == 'cpu'
        threads = 6 if name == HEAD[0] else 3
        assert given[f'{name}.num_threads'] == threads
    assert given['series_wf.correct_series.num_threads'] == 6
    assert given['brain_wf.place.num_threads'] == 3
    assert given['brain_wf.slabs.n_slabs'] == 2
    assert given['brain_wf.slabs.slices_per_job'] == 7


def test_what_is_known_of_a_scan_reaches_its_report_and_the_cache_its_donors(example, tmp_path):
    workflow = init_subject_wf(
        scan=find_scans(example, '01')[0],
        output_dir=tmp_path / 'out',
        notes=['It was scanned at night.'],
        cache_dir=tmp_path / 'cache',
    )
    report, publish = (workflow.get_node(f'outputs_wf.{n}').inputs for n in ('report', 'publish'))
    assert report.known == ['It was scanned at night.']
    assert publish.output_dir == str(tmp_path / 'out')
    assert publish.dataset_links == {'raw': str(example)}
    assert (publish.folder, publish.stem, publish.suffix) == ('sub-01/dwi', 'sub-01', 'dwi')
    donors = workflow.get_node('brain_wf.donor_saliency').inputs
    assert donors.cache_dir == str(tmp_path / 'cache')


def test_files_of_a_method_are_where_they_were_when_it_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ('weights', 'refinement', 'second_weights', 'atlas', 'explain_region')
    method = Method(**dict.fromkeys(names, 'x'), donors=(('head.nii', 'mask.nii'),))
    assert [getattr(method, name) for name in names] == [tmp_path / 'x'] * 5
    assert method.donors == ((tmp_path / 'head.nii', tmp_path / 'mask.nii'),)


def test_without_a_pose_tissues_are_found_at_the_spacing_of_the_weights(small_weights, tmp_path):
    own = tmp_path / 'own.safetensors'
    save_weights(UNet((2, 4)), own, {'spacing': '0.2'})
    for weights, spacing in ((own, 0.2), (small_weights, 0.3)):
        pose = init_tissues_wf(weights=weights).get_node('inputnode').inputs.pose
        assert pose == Pose('rat', spacing).to_plain()
    masked = init_tissues_wf(weights=own, second_glance='masked')
    assert masked.get_node('second').inputs.weights == str(own)


def test_the_table_of_labels_of_a_reference_reaches_its_scores(example, tmp_path):
    source = example / 'derivatives/reference/sub-01/dwi/sub-01_dseg.nii.gz'
    reference, table = tmp_path / 'sub-01_dseg.nii.gz', tmp_path / 'sub-01_dseg.tsv'
    shutil.copy(source, reference)
    for given in (None, str(table)):
        workflow = init_subject_wf(
            scan=find_scans(example, '01')[0], output_dir=tmp_path, reference=reference
        )
        found = workflow.get_node('outputs_wf.metrics').inputs
        assert found.reference == str(reference)
        assert (found.label_table if isdefined(found.label_table) else None) == given
        table.write_text(labels_table())


def test_options_of_saliency_are_on_record_under_the_names_of_the_command_line():
    plain = Method(saliency=SaliencyOptions('gradient', 'CSF', 3, 1.5, 0.25)).resolved()
    assert [plain[name] for name in ('saliency', 'target', 'smooth')] == ['gradient', 'CSF', 3]
    assert (plain['enhance_peak'], plain['enhance_width']) == (1.5, 0.25)
    assert len(plain['donors']) == len(Method().donors)
