"""The cache is private, bound to its place, and not believed where it was changed."""

import os
from pathlib import Path

import pytest
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.pipeline.engine import MapNode, Node, Workflow

from secondglance.imaging.errors import InputError
from secondglance.pipelines.execution.cache import open_cache, remove_broken
from secondglance.pipelines.execution.nipype_engine import configure, run_workflow
from secondglance.pipelines.settings import Execution


class _WriteInputSpec(BaseInterfaceInputSpec):
    text = traits.Str(mandatory=True)
    count = traits.Str(mandatory=True, nohash=True)


class _WriteOutputSpec(TraitedSpec):
    out_file = File(exists=True)


class Write(SimpleInterface):
    """Write a text, and count how often."""

    input_spec = _WriteInputSpec
    output_spec = _WriteOutputSpec

    def _run_interface(self, runtime):
        with open(self.inputs.count, 'a') as stream:
            stream.write('x')
        self._results['out_file'] = str(Path(runtime.cwd) / 'out.txt')
        Path(self._results['out_file']).write_text(self.inputs.text)
        return runtime


@pytest.fixture
def run(tmp_path):
    """Return a function that runs two stages, three files, and counts what was done."""

    def _run():
        workflow = Workflow(name='wf', base_dir=str(tmp_path))
        count = tmp_path / 'count'
        count.write_text('')
        one = Node(Write(text='one', count=str(count)), name='one')
        parts = MapNode(Write(count=str(count)), iterfield=['text'], name='parts')
        parts.inputs.text = ['two', 'three']
        workflow.add_nodes([one, parts])
        configure(workflow)
        run_workflow(workflow, Execution())
        return len(count.read_text())

    return _run


def test_what_is_intact_is_not_done_again(run):
    assert run() == 3
    assert run() == 0


@pytest.mark.parametrize(
    ('name', 'again'),
    [
        ('wf/one/out.txt', 1),
        ('wf/parts/mapflow/_parts1/out.txt', 2),
        ('wf/one/result_one.pklz', 1),
    ],
)
@pytest.mark.parametrize('how', ['zeros', 'cut', 'edited', 'flipped', 'lost'])
def test_a_changed_file_is_made_again(run, tmp_path, name, again, how):
    run()
    path = tmp_path / name
    right = path.read_bytes()
    if how == 'lost':
        path.unlink()
    else:
        wrong = {'zeros': bytes(len(right)), 'cut': right[:-1], 'edited': right[:-1] + b'!'}
        wrong['flipped'] = right[:1] + bytes([right[1] ^ 4]) + right[2:]
        about = path.stat()
        path.write_bytes(wrong[how])
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert run() == again
    if name.endswith('.txt'):
        assert path.read_bytes() == right


def test_a_stage_that_was_not_finished_is_not_believed(run, tmp_path):
    run()
    (tmp_path / 'wf' / 'one' / 'digests.json').unlink()
    (tmp_path / 'wf' / 'a file').touch()
    assert remove_broken(tmp_path / 'wf') == [tmp_path / 'wf' / 'one']
    assert run() == 1


def test_a_moved_work_folder_is_another(tmp_path):
    here = open_cache(tmp_path / 'work')
    assert open_cache(tmp_path / 'work') == here
    (tmp_path / 'work').rename(tmp_path / 'moved')
    there = open_cache(tmp_path / 'moved')
    assert there.name != here.name
    (tmp_path / 'link').symlink_to(tmp_path / 'moved')
    assert open_cache(tmp_path / 'link') == there


def test_the_cache_is_for_its_owner_alone(tmp_path, monkeypatch):
    folder = open_cache(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert open_cache(tmp_path).stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, 'geteuid', lambda: folder.stat().st_uid + 1)
    with pytest.raises(InputError, match=r'belongs to another user.*--work-dir'):
        open_cache(tmp_path)


def test_a_link_in_the_place_of_the_cache_is_refused(tmp_path):
    folder = open_cache(tmp_path / 'work')
    folder.rename(tmp_path / 'elsewhere')
    folder.symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(InputError, match='is a link'):
        open_cache(tmp_path / 'work')


def test_what_is_not_finished_is_left_to_the_engine(tmp_path):
    done, begun = (tmp_path / 'wf' / name for name in ('done', 'begun'))
    for folder, name in ((done, 'result_done.pklz'), (begun, '_inputs.pklz')):
        folder.mkdir(parents=True)
        (folder / name).touch()
    # Neither was sealed: one ended, and the parts of the other may have
    assert remove_broken(tmp_path / 'wf') == [done]
    assert begun.is_dir()
