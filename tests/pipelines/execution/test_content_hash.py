"""Content hashes: of what a file holds, computed once a file."""

import hashlib
import os

import pytest
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, specs
from nipype.pipeline.engine import Node, Workflow

from secondglance.files import digests
from secondglance.pipelines.execution.content_hash import content_hash, hash_once
from secondglance.pipelines.execution.nipype_engine import configure


@pytest.fixture
def reads(monkeypatch):
    """Paths in the order in which their content was read."""
    found: list[str] = []
    read = digests.digest_of

    def noted(path):
        found.append(path.name)
        return read(path)

    monkeypatch.setattr(digests, 'digest_of', noted)
    return found


def test_a_hash_follows_the_content(tmp_path, reads):
    path = tmp_path / 'image.nii'
    for content in (b'one', b'two', b'longer than before'):
        path.write_bytes(content)
        # Two writes may fall into one tick of the file system's clock
        os.utime(path, ns=(0, len(reads)))
        expected = hashlib.sha256(content).hexdigest()
        assert content_hash(str(path)) == content_hash(str(path)) == expected
    assert reads == ['image.nii'] * 3
    # The same content under another name is read for itself
    other = tmp_path / 'other.nii'
    other.write_bytes(b'one')
    assert content_hash(str(other)) == hashlib.sha256(b'one').hexdigest()
    assert reads[-1] == 'other.nii'


def test_a_file_that_was_sealed_is_not_read_again(tmp_path, reads):
    (tmp_path / 'image.nii').write_bytes(b'voxels')
    digests.write_digests(tmp_path)
    content_hash(tmp_path / 'image.nii')
    assert reads == ['image.nii']
    # What is checked is read, whatever is known
    assert digests.is_intact(tmp_path)
    assert reads == ['image.nii'] * 2


def test_a_missing_file_has_the_engines_answer(tmp_path):
    assert content_hash(str(tmp_path / 'none.nii')) is None
    with pytest.raises(RuntimeError):
        content_hash(str(tmp_path / 'none.nii'), raise_notfound=True)


class _Spec(BaseInterfaceInputSpec):
    first = File(exists=True)
    second = File(exists=True)


def test_the_engine_reads_an_input_once(tmp_path, reads, monkeypatch):
    path = tmp_path / 'image.nii'
    path.write_bytes(b'voxels')
    inputs = _Spec(first=str(path), second=str(path))
    monkeypatch.setattr(specs, 'hash_infile', specs.hash_infile)
    hash_once()
    before = inputs.get_hashval(hash_method='content')
    assert inputs.get_hashval(hash_method='content') == before
    assert reads == ['image.nii']
    path.write_bytes(b'other voxels')
    assert inputs.get_hashval(hash_method='content') != before


class _Counted(SimpleInterface):
    """Counts how often it runs."""

    input_spec = _Spec
    runs = 0

    def _run_interface(self, runtime):
        type(self).runs += 1
        return runtime


def test_a_stage_runs_anew_where_a_content_changed_and_not_where_a_time_did(tmp_path, monkeypatch):
    monkeypatch.setattr(specs, 'hash_infile', specs.hash_infile)
    monkeypatch.setattr(_Counted, 'runs', 0)
    path = tmp_path / 'image.nii'
    for time, (content, runs) in enumerate([(b'one', 1), (b'one', 1), (b'two', 2), (b'two', 2)]):
        path.write_bytes(content)
        os.utime(path, (time, time))
        workflow = Workflow(name='any_wf', base_dir=str(tmp_path))
        workflow.add_nodes([Node(_Counted(first=str(path)), name='counted')])
        configure(workflow)
        workflow.run('Linear')
        assert _Counted.runs == runs
