"""A lab's own Nipype pipeline that takes our sub-workflows, as docs/embedding.md shows it."""

import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

import secondglance
from secondglance.data import donor_paths, example_rat, regions_path
from secondglance.pipelines import (
    Method,
    default_refinement,
    default_second_glance,
    default_weights,
    find_donor,
    init_brain_wf,
    init_explain_wf,
    init_outputs_wf,
    init_preproc_wf,
    init_subject_wf,
    init_tissues_wf,
    scan_of_file,
    stage,
)


@pytest.mark.slow
def test_sub_workflows_run_inside_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab_wf = Workflow(name='lab_wf', base_dir=str(tmp_path))
    image, _ = example_rat()
    raw = Node(IdentityInterface(['out_file']), name='raw')
    raw.inputs.out_file = str(image)
    preproc_wf = init_preproc_wf(motion='none')
    brain_wf = init_brain_wf(donors=[find_donor(folder) for folder in donor_paths()[:1]])
    tissues_wf = init_tissues_wf()
    tissues = Node(IdentityInterface(['dseg', 'mask']), name='tissues')
    lab_wf.connect(
        [
            (raw, preproc_wf, [('out_file', 'inputnode.in_file')]),
            (preproc_wf, brain_wf, [('outputnode.b0_mean', 'inputnode.in_file')]),
            (preproc_wf, tissues_wf, [('outputnode.b0_mean', 'inputnode.in_file')]),
            (brain_wf, tissues_wf, [('outputnode.brain_mask', 'inputnode.brain_mask')]),
            (tissues_wf, tissues, [('outputnode.dseg', 'dseg')]),
            (brain_wf, tissues, [('outputnode.brain_mask', 'mask')]),
        ]
    )
    lab_wf.config['execution'] = {'crashdump_dir': str(tmp_path)}
    graph = lab_wf.run(plugin='Linear')
    node = next(n for n in graph.nodes() if n.name == 'look_again')
    labels = nib.load(node.result.outputs.dseg)
    np.testing.assert_allclose(labels.affine, nib.load(image).affine, atol=1e-5)
    assert set(np.unique(labels.get_fdata())) == {0, 1, 2, 3}


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Return a function that runs an example of the documentation in a folder instead of /data."""
    page = Path(secondglance.__file__).parent / 'docs' / 'embedding.md'
    if not page.is_file():
        pytest.skip('the installed package has no docs')
    examples = re.findall(r'```python\n(.*?)```', page.read_text(), re.S)
    nib.save(slices_of_rat(), tmp_path / 'mean_epi.nii.gz')
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')

    def _shown(number, *changes):
        code = examples[number].replace('/data', str(tmp_path))
        for old, new in changes:
            assert old in code
            code = code.replace(old, new)
        names: dict = {}
        exec(code, names)
        # Nothing goes where it was not asked for
        assert list((tmp_path / 'elsewhere').iterdir()) == []
        return names

    return _shown


def slices_of_rat():
    return nib.load(example_rat()[0]).slicer[:, :, 6:10]


@pytest.mark.slow
def test_the_whole_method_runs_as_the_documentation_shows(shown, tmp_path):
    folder = tmp_path / 'study/sub-01/anat'
    folder.mkdir(parents=True)
    nib.save(slices_of_rat(), folder / 'sub-01_T2w.nii.gz')
    shown(0)
    assert (tmp_path / 'results/sub-01_T2w.html').is_file()
    assert (tmp_path / 'results/sub-01/anat/sub-01_space-T2w_dseg.nii.gz').is_file()


@pytest.mark.slow
def test_stages_run_as_the_documentation_shows(shown, tmp_path):
    shown(1)
    found = {path.name.split('.')[0]: path for path in (tmp_path / 'results').iterdir()}
    assert set(found) == {
        'mean_epi_brain_mask',
        'mean_epi_brain_mask_dseg',
        'mean_epi_regions',
    }
    labels = nib.load(found['mean_epi_brain_mask_dseg']).get_fdata()
    assert set(np.unique(labels)) == {0, 1, 2, 3}


@pytest.mark.slow
def test_pydra_runs_as_the_documentation_shows(shown, tmp_path):
    names = shown(2, ("plugin='cf'", "plugin='serial'"))
    first = nib.load(names['mine'].result().output.first).get_fdata()
    assert first.shape[3] == 4
    np.testing.assert_allclose(first.sum(axis=-1), 1, atol=1e-5)


def test_relative_paths_are_made_absolute_when_the_graph_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image, mask = example_rat()
    for name in ('w', 'r', 's'):
        shipped = {'w': default_weights, 'r': default_refinement, 's': default_second_glance}
        shutil.copy(shipped[name](), f'{name}.safetensors')
    shutil.copy(image, 'rat.nii.gz')
    shutil.copy(mask, 'mask.nii.gz')
    shutil.copytree(regions_path('rat'), 'regions')
    method = Method(
        weights='w.safetensors',
        refinement='r.safetensors',
        second_weights='s.safetensors',
        donors=[('rat.nii.gz', 'mask.nii.gz')],
        atlas='regions',
        explain=('WM',),
        explain_region='mask.nii.gz',
    )
    whole = init_subject_wf(
        scan=scan_of_file('rat.nii.gz'),
        output_dir='outs',
        method=method,
        reference='mask.nii.gz',
        cache_dir='shared',
    )
    parts = [
        init_preproc_wf(weights='w.safetensors'),
        init_brain_wf(
            weights='w.safetensors',
            refinement='r.safetensors',
            donors=[('rat.nii.gz', 'mask.nii.gz')],
            cache_dir='shared',
        ),
        init_tissues_wf(second_weights='s.safetensors', atlases={'rat': 'regions'}),
        init_tissues_wf(second_glance='masked', weights='w.safetensors'),
        init_explain_wf(weights='w.safetensors', region='mask.nii.gz'),
        init_outputs_wf(scan=scan_of_file('rat.nii.gz'), output_dir='outs'),
    ]
    names = {path.name for path in tmp_path.iterdir()} | {'outs', 'shared'}
    assert relative(whole, names) == []
    assert [relative(part, names) for part in parts] == [[]] * len(parts)


def relative(workflow, names):
    """Inputs of a workflow's nodes that are such a name without its folder."""
    found = []
    for node in workflow._get_all_nodes():
        for key, value in node.inputs.get().items():
            values = value.values() if isinstance(value, dict) else value
            values = [values] if isinstance(values, str | Path) else values
            try:
                words = [str(word) for word in values]
            except TypeError:
                continue
            found += [f'{node.fullname}.{key}' for word in words if word in names]
    return found


def test_a_task_of_pydra_takes_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = stage('first_glance', in_file='stack.nii.gz', weights=Path('w.safetensors'))
    assert task.inputs.in_file == str(tmp_path / 'stack.nii.gz')
    assert task.inputs.weights == str(tmp_path / 'w.safetensors')
