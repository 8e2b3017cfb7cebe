"""A lab's own Nipype pipeline that takes our sub-workflows, as docs/embedding.md shows it."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

import secondglance
from secondglance.data import donor_paths, example_rat
from secondglance.files.bids import find_donor
from secondglance.pipelines import init_brain_wf, init_preproc_wf, init_tissues_wf


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


def test_what_the_documentation_shows_builds(tmp_path, monkeypatch):
    page = Path(secondglance.__file__).parent / 'docs' / 'embedding.md'
    if not page.is_file():
        pytest.skip('the installed package has no docs')
    nipypes, pydras = re.findall(r'```python\n(.*?)```', page.read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(nipypes.replace('lab_wf.run()', ''), names)
    assert len(names['lab_wf'].list_node_names()) == 14

    image = nib.load(example_rat()[0])
    nib.save(image, tmp_path / 'mean_epi.nii.gz')
    exec(pydras.replace("plugin='cf'", "plugin='serial'"), names)
    first = nib.load(names['mine'].result().output.first).get_fdata()
    assert first.shape[3] == 4
    np.testing.assert_allclose(first.sum(axis=-1), 1, atol=1e-5)
