"""Content hashes: those of the engine, computed once a file."""

import os
from pathlib import Path

import pytest
from nipype.interfaces.base import BaseInterfaceInputSpec, File, specs
from nipype.utils.filemanip import hash_infile

from secondglance.pipelines.execution import content_hash as module
from secondglance.pipelines.execution.content_hash import content_hash, hash_once


@pytest.fixture
def reads(monkeypatch):
    """Paths in the order in which their content was read."""
    found: list[str] = []

    def read(path, *options):
        found.append(Path(path).name)
        return hash_infile(path, *options)

    monkeypatch.setattr(module, 'hash_infile', read)
    return found


def test_a_hash_is_the_engines_and_follows_the_content(tmp_path, reads):
    path = tmp_path / 'image.nii'
    for content in (b'one', b'two', b'longer than before'):
        path.write_bytes(content)
        # Two writes may fall into one tick of the file system's clock
        os.utime(path, ns=(0, len(reads)))
        assert content_hash(str(path)) == content_hash(str(path)) == hash_infile(str(path))
    assert reads == ['image.nii'] * 3
    # The same content under another name is read for itself
    other = tmp_path / 'other.nii'
    other.write_bytes(b'one')
    assert content_hash(str(other)) == hash_infile(str(other))


def test_a_missing_file_has_the_engines_answer(tmp_path):
    assert content_hash(str(tmp_path / 'none.nii')) is None
    with pytest.raises(RuntimeError):
        content_hash(str(tmp_path / 'none.nii'), raise_notfound=True)


class _Spec(BaseInterfaceInputSpec):
    first = File(exists=True)
    second = File(exists=True)


def test_the_engine_reads_an_input_once_and_hashes_as_before(tmp_path, reads, monkeypatch):
    path = tmp_path / 'image.nii'
    path.write_bytes(b'voxels')
    inputs = _Spec(first=str(path), second=str(path))
    before = inputs.get_hashval(hash_method='content')
    monkeypatch.setattr(specs, 'hash_infile', specs.hash_infile)
    hash_once()
    assert inputs.get_hashval(hash_method='content') == before
    assert reads == ['image.nii']
