"""What is recorded of a scan is its own; one process at a time is at it."""

import configparser
import errno
import fcntl
import logging
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest
from nipype.pipeline.engine import Node, Workflow
from nipype.utils.misc import str2bool

import secondglance
from secondglance.files.bids import Scan, find_scans
from secondglance.imaging.errors import InputError, SurroundingsError
from secondglance.imaging.pose import Pose
from secondglance.interfaces.preprocessing import Displacement
from secondglance.pipelines import Execution, Method
from secondglance.pipelines.execution import job as module
from secondglance.pipelines.execution.job import (
    ScanJob,
    for_attempt,
    in_one_process,
    known,
    on_device,
    run_job,
)
from secondglance.pipelines.execution.lock import alone
from secondglance.pipelines.execution.nipype_engine import (
    configure,
    fault_of,
    quiet_settings,
    run_workflow,
)
from secondglance.pipelines.execution.records import replacement, write_record
from secondglance.pipelines.subject import init_subject_wf, workflow_name
from secondglance.workflows import main


@pytest.fixture
def job(tmp_path):
    image = tmp_path / 'sub-01_T2w.nii'
    image.write_bytes(b'voxels')
    scan = Scan(image, {'sub': '01'}, 'T2w', 'anat')
    return ScanJob(scan, Method(), Execution(), tmp_path / 'out', tmp_path / 'work', 'recipe')


@pytest.mark.parametrize(
    ('asked', 'given'),
    [
        (Execution(nprocs=4, threads=2), Execution(threads=8)),
        (Execution(threads=3), Execution(threads=3)),
        (Execution(nprocs=4, slices_per_job=9), Execution(nprocs=4, slices_per_job=9)),
        (Execution(nprocs=4, plugin='SLURM'), Execution(nprocs=4, plugin='SLURM')),
    ],
)
def test_one_scan_has_processes_where_its_slices_are_cut(job, asked, given):
    assert in_one_process(replace(job, execution=asked)).execution == given


def test_the_cpus_of_a_batch_job_are_shared_by_its_processes(job):
    own = replace(job, per_attempt=True, execution=Execution(nprocs=2))
    fitted = for_attempt(own, {'SLURM_JOB_ID': '7', 'SLURM_CPUS_PER_TASK': '8'})
    assert (fitted.execution.nprocs, fitted.execution.threads) == (2, 4)
    assert fitted.work_dir == job.work_dir / 'attempt-sub-01_T2w-7-0'
    # What attempts share stays where it was
    assert fitted.common_dir == job.common_dir
    assert for_attempt(own, {'SLURM_CPUS_PER_TASK': '1'}).execution.threads == 1
    elsewhere = for_attempt(own, {'JOB_ID': '12'}).work_dir.name
    assert elsewhere == 'attempt-sub-01_T2w-12-0'
    assert for_attempt(job, {'SLURM_JOB_ID': '7', 'SLURM_CPUS_PER_TASK': '8'}) == job


def test_the_device_of_a_job_is_the_one_it_asks_for(job, monkeypatch):
    monkeypatch.setattr('secondglance.models.device.resolve_device', lambda name: f'<{name}>')
    for asked in ('auto', 'cpu', 'cuda:1'):
        found = on_device(replace(job, execution=Execution(device=asked, threads=3)))
        assert found == replace(job, execution=Execution(device=f'<{asked}>', threads=3))


def failing(monkeypatch, error):
    def build(job, notes=()):
        raise error

    monkeypatch.setattr(module, 'build', build)


def test_a_fault_of_the_scan_is_recorded(job, monkeypatch):
    failing(monkeypatch, InputError('No b0.'))
    assert run_job(job).reason == 'No b0.'
    assert known(job).reason == 'No b0.'


@pytest.mark.parametrize(
    ('error', 'says'),
    [
        (SurroundingsError('The disk of /x is full.'), 'The disk of /x is full.'),
        (OSError(errno.ENOSPC, 'No space left on device', '/w/a'), 'The disk of /w/a is full'),
        (OSError(errno.EDQUOT, 'Quota', '/w/a'), 'The quota of the disk of /w/a is used up'),
        (OSError(errno.EFBIG, 'Large', '/w/a'), 'A file in /w/a would be larger'),
        (OSError(errno.EIO, 'Input/output error', '/w/a'), '/w/a cannot be used'),
        (MemoryError(), 'Memory ran out'),
    ],
)
def test_what_is_no_fault_of_the_scan_is_tried_again(job, monkeypatch, error, says):
    failing(monkeypatch, error)
    outcome = run_job(job)
    assert outcome.status == 'failed'
    assert outcome.reason.startswith(says)
    assert known(job) is None


@pytest.mark.parametrize(
    ('text', 'kind'),
    [
        ('x.errors.InputError: No b0.', InputError),
        ('x.errors.SurroundingsError: /out cannot be written.', SurroundingsError),
        ('OSError: [Errno 28] No space left on device', SurroundingsError),
        ('InputError: damaged\nOSError: [Errno 28] No space left on device', SurroundingsError),
        ("ModuleNotFoundError: No module named 'x'", SurroundingsError),
        ('KeyError: 5', SurroundingsError),
    ],
)
def test_only_what_a_stage_says_of_the_scan_is_its_fault(text, kind):
    assert type(fault_of(RuntimeError(f'Traceback …\n{text}'), Path('crash'))) is kind


@pytest.mark.parametrize(
    'text',
    [
        'MemoryError',
        'numpy._core._exceptions._ArrayMemoryError: Unable to allocate 4 GiB',
        "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
        'ImportError: /x/_SimpleITK.so: failed to map segment from shared object',
        'OSError: [Errno 12] Cannot allocate memory',
    ],
)
def test_that_memory_ran_out_is_named(text):
    said = str(fault_of(RuntimeError(f'Traceback …\n{text}'), Path('crash')))
    assert said.startswith('Memory ran out in a stage')


def test_of_crashes_the_first_of_this_run_is_named(tmp_path):
    for name, node, when in (
        ('crash-0', 'scan_wf.brain_wf.before', 50),
        ('crash-1', 'scan_wf.brain_wf.second', 120),
        ('crash-2', 'scan_wf.brain_wf.first', 110),
        ('crash-3', 'other_wf.brain_wf.other', 105),
    ):
        path = tmp_path / name
        path.write_text(f'Node: {node}\n')
        os.utime(path, (when, when))
    said = str(fault_of(RuntimeError('KeyError: 5'), tmp_path, 'scan_wf', 100.0))
    assert "(first) stopped with 'RuntimeError: KeyError: 5'" in said
    assert f'The full error is in {tmp_path / "crash-2"};' in said


def test_of_several_errors_the_last_is_named():
    text = 'ValueError: of a fit\nDuring handling of it another exception occurred\nKeyError: 5'
    said = str(fault_of(RuntimeError(f'Traceback …\n{text}'), Path('crash')))
    assert "stopped with 'KeyError: 5'" in said


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_that_there_is_no_room_is_named_whatever_was_reached(number):
    error = RuntimeError(f'Traceback …\nOSError: [Errno {number}] {os.strerror(number)}')
    assert type(fault_of(error, Path('work/crash'))) is SurroundingsError
    assert 'Traceback' not in str(fault_of(error, Path('work/crash')))


@pytest.mark.parametrize('asked', [True, False])
def test_the_first_crash_stops_the_others_where_asked(tmp_path, asked):
    workflow = Workflow(name='any_wf', base_dir=str(tmp_path))
    configure(workflow, stop_on_first_crash=asked)
    assert str2bool(workflow.config['execution']['stop_on_first_crash']) is asked


def test_a_killed_process_is_named_as_such():
    error = BrokenProcessPool('A child process terminated abruptly')
    assert 'killed' in str(fault_of(error, Path('crash')))


def test_the_engine_says_nothing_on_the_screen(tmp_path, capfd):
    configure(Workflow(name='any_wf', base_dir=str(tmp_path)))
    logging.getLogger('nipype.workflow').critical('Unable to open the file in write mode')
    assert capfd.readouterr() == ('', '')


def test_other_processes_of_the_engine_are_as_quiet_as_this_one(tmp_path):
    configure(Workflow(name='any_wf', base_dir=str(tmp_path)))
    read = configparser.ConfigParser()
    assert read.read(Path(quiet_settings(tmp_path)) / 'nipype.cfg')
    names = ('workflow_level', 'interface_level', 'utils_level')
    assert dict(read['logging']) == dict.fromkeys(names, 'CRITICAL')


def test_a_limit_on_the_size_of_files_is_named():
    said = str(fault_of(RuntimeError('OSError: [Errno 27] File too large'), Path('work/crash')))
    assert 'A file in work would be larger than this process may write' in said
    assert 'ulimit -f' in said


def finish(job, content=b'1'):
    output = job.output_dir / 'sub-01' / 'anat' / 'a.tsv'
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(content)
    write_record(job.output_dir, job.scan, None, job.recipe, outputs=[output], seconds=7.5)
    return output


def test_a_finished_scan_is_cached_with_the_seconds_that_it_took(job, monkeypatch):
    failing(monkeypatch, AssertionError('built'))
    finish(job)
    assert run_job(job).status == 'cached'
    assert run_job(job).seconds == 7.5


@pytest.mark.parametrize('clean', [True, False])
def test_what_a_finished_scan_left_in_the_work_folder_is_removed_where_asked(
    job, monkeypatch, clean
):
    failing(monkeypatch, AssertionError('built'))
    finish(job)
    left, other = (job.work_dir / name for name in (workflow_name(job.scan), 'of another scan'))
    for folder in (left, other):
        (folder / 'node').mkdir(parents=True)
    asked = replace(job, execution=replace(job.execution, clean=clean))
    assert run_job(asked).status == 'cached'
    assert left.exists() != clean
    assert other.exists()


def test_an_edited_output_stops_another_recipe_and_is_no_fault_of_the_scan(job, monkeypatch):
    failing(monkeypatch, AssertionError('built'))
    output = finish(job)
    output.write_bytes(b'2')
    assert run_job(job).status == 'cached'
    other = ScanJob(**{**vars(job), 'recipe': 'another'})
    outcome = run_job(other)
    assert outcome.status == 'failed'
    assert 'a.tsv is not as secondglance wrote it' in outcome.reason
    assert output.read_bytes() == b'2'
    assert known(other) is None


HOLD = """
import sys, time
from pathlib import Path
from secondglance.pipelines.execution.lock import alone
with alone(Path(sys.argv[1])):
    print('held', flush=True)
    sys.stdin.readline()
    Path(sys.argv[2]).write_text('done')
"""


@pytest.fixture
def holder(tmp_path):
    """Start another process that holds a lock until it is told to end, or is killed."""
    started = []

    def start(path, done):
        process = subprocess.Popen(
            [sys.executable, '-c', HOLD, str(path), str(done)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={'PYTHONPATH': str(Path(secondglance.__file__).parent.parent)},
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == 'held\n'
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_waits_for_the_first(tmp_path, holder):
    done = tmp_path / 'done'
    process = holder(tmp_path / 'a.lock', done)
    told = []

    def waiting():
        told.append(done.exists())
        process.stdin.write('\n')
        process.stdin.flush()

    with alone(tmp_path / 'a.lock', waiting):
        assert done.read_text() == 'done'
    assert told == [False]


def test_a_lock_that_was_removed_while_it_was_waited_for_is_taken_anew(tmp_path, holder):
    path = tmp_path / 'a.lock'
    process = holder(path, tmp_path / 'done')

    def waiting():
        path.unlink()
        path.write_text('of a third process')
        process.stdin.write('\n')
        process.stdin.flush()

    with alone(path, waiting), path.open('rb') as stream, pytest.raises(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not path.exists()


def test_calls_that_share_their_output_folder_alone_wait_too(job, tmp_path, holder, monkeypatch):
    failing(monkeypatch, InputError('It is empty.'))
    job.output_dir.mkdir()
    process = holder(job.output_dir / f'.{job.scan.name}.lock', tmp_path / 'done')

    class Console:
        said: ClassVar[list[str]] = []

        def print(self, text, **how):
            self.said.append(text)
            process.stdin.write('\n')
            process.stdin.flush()

    outcome = run_job(job, Console())
    assert outcome.reason == 'It is empty.'
    assert (tmp_path / 'done').is_file()
    assert Console.said == [f'  Another process is at {job.scan.name}: waiting for its result.']
    assert list(job.output_dir.iterdir()) == []


def test_an_attempt_of_a_batch_system_waits_for_no_other(job, monkeypatch):
    failing(monkeypatch, InputError('It is empty.'))
    own = replace(job, per_attempt=True)
    waited = []
    console = SimpleNamespace(print=lambda text, **how: waited.append(text) or 1 / 0)
    locks = (
        own.common_dir / 'locks' / f'{job.scan.name}.lock',
        job.output_dir / '.sub-01_T2w.lock',
    )
    for path in locks:
        with alone(path):
            assert run_job(own, console).reason == 'It is empty.'
    assert waited == []


def test_the_lock_of_a_killed_process_is_free(tmp_path, holder):
    process = holder(tmp_path / 'a.lock', tmp_path / 'done')
    process.kill()
    process.wait()
    told = []
    with alone(tmp_path / 'a.lock', lambda: told.append('waits')):
        assert told == []


def test_a_file_system_without_locks_still_runs_the_scan(tmp_path, monkeypatch):
    def flock(number, how):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('secondglance.pipelines.execution.lock.fcntl.flock', flock)
    with alone(tmp_path / 'a.lock'):
        pass


ROOT = Path(secondglance.__file__).parent


@pytest.mark.slow
def test_two_processes_on_one_scan_both_end_right(example, tmp_path):
    call = [
        *(sys.executable, str(ROOT / 'workflows.py'), '--subject', '02', '--motion', 'none'),
        *('--bids-dir', str(example), '-o', 'out', '--work-dir', 'work'),
    ]
    both = [
        subprocess.Popen(call, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum('nothing has changed' in text for text in said) == 1
    assert sum('Another process is at sub-02_task-rest_sbref' in text for text in said) == 1
    mask = nib.load(
        tmp_path / 'out/sub-02/func/sub-02_task-rest_space-sbref_desc-brain_mask.nii.gz'
    )
    assert np.asarray(mask.dataobj).any()


def test_the_report_says_that_a_former_result_is_replaced(job, monkeypatch):
    told = []

    def build(job, notes=()):
        told.extend(notes)
        raise InputError('Enough.')

    monkeypatch.setattr(module, 'build', build)
    run_job(job)
    assert told == []
    finish(job)
    job.scan.path.write_bytes(b'other voxels')
    run_job(job)
    assert ['was replaced' in note for note in told] == [True]


def test_a_result_that_replaced_another_says_so_on_its_record(job, monkeypatch):
    """Of a graph that is done: its publisher lists the files, its report what to look at."""
    finish(job)
    job.scan.path.write_bytes(b'other voxels')
    told = replacement(job.output_dir, job.scan)
    made = job.output_dir / 'sub-01' / 'anat' / 'b.tsv'
    made.write_text('b')
    outputs = {'publish': {'out_files': [str(made)]}, 'report': {'warnings': ['Look.']}}
    nodes = [
        SimpleNamespace(name=name, result=SimpleNamespace(outputs=SimpleNamespace(**fields)))
        for name, fields in outputs.items()
    ]
    workflow = SimpleNamespace(base_dir=str(job.work_dir), name=workflow_name(job.scan))
    monkeypatch.setattr(module, 'build', lambda job, notes=(): workflow)
    monkeypatch.setattr(
        module, 'run_workflow', lambda *_, **how: SimpleNamespace(nodes=lambda: nodes)
    )
    outcome = run_job(job)
    assert (outcome.status, outcome.flags) == ('done', ('Look.',))
    assert told is not None
    assert replacement(job.output_dir, job.scan) == told
    assert known(job).status == 'cached'


def test_what_is_known_beforehand_is_a_warning_of_the_report(job):
    workflow = init_subject_wf(scan=job.scan, output_dir=job.output_dir, notes=['Look.'])
    assert workflow.get_node('outputs_wf.report').inputs.known == ['Look.']


def test_what_is_known_beforehand_and_the_folders_reach_the_graph(example, tmp_path):
    scan = find_scans(example, '02', 'sbref')[0]
    job = ScanJob(scan, Method(motion='none'), Execution(), tmp_path / 'out', tmp_path / 'w', '')
    job = replace(job, shared_dir=tmp_path / 'shared')
    workflow = module.build(job, ['Look.'])
    assert workflow.get_node('outputs_wf.report').inputs.known == ['Look.']
    donors = workflow.get_node('brain_wf.donor_saliency').inputs
    assert donors.cache_dir == str(tmp_path / 'shared' / 'donors')
    assert workflow.base_dir == str(tmp_path / 'w')


@pytest.mark.slow
def test_a_corrected_mask_outlives_every_next_run(example, tmp_path, capfd):
    def run(*options):
        where = ('-o', str(tmp_path / 'out'), '--work-dir', str(tmp_path / 'work'))
        call = ('--subject', '02', '--bids-dir', str(example), '--motion', 'none', *where)
        code = main([*call, *options])
        return code, capfd.readouterr().err

    assert run()[0] == 0
    [mask] = (tmp_path / 'out').rglob('*_desc-brain_mask.nii.gz')
    made, image = mask.read_bytes(), nib.load(mask)
    drawn = np.asarray(image.dataobj).copy()
    drawn[: drawn.shape[0] // 2] = 0
    nib.save(nib.Nifti1Image(drawn, image.affine, image.header), mask)
    corrected = mask.read_bytes()
    assert corrected != made
    # The same call keeps it and says so
    code, said = run()
    assert (code, mask.read_bytes()) == (0, corrected)
    assert f'{mask.name} was edited by hand' in said
    # Another one is refused, before it computes, however often it is tried
    for _ in range(2):
        code, said = run('--no-regions')
        assert (code, mask.read_bytes()) == (1, corrected)
        assert said.count('secondglance: ') == 1
        assert str(mask) in said
    # What a disk spoilt, or nobody has any more, is made anew
    mask.write_bytes(corrected[:-50])
    assert run()[0] == 0
    assert mask.read_bytes() == made


@pytest.mark.slow
@pytest.mark.parametrize('nprocs', [1, 2])
def test_a_crash_names_its_stage_and_the_file_with_the_traceback(tmp_path, nprocs):
    (tmp_path / 'crash').mkdir()
    # Of another scan, and of a run before
    (tmp_path / 'crash' / 'crash-0.txt').write_text('Node: other_wf.brain_wf.place\n')
    before = tmp_path / 'crash' / 'crash-1.txt'
    before.write_text('Node: scan_wf.brain_wf.place\n')
    os.utime(before, (1, 1))
    stage = Workflow(name='preproc_wf')
    table = tmp_path / 'confounds.tsv'
    table.write_text('volume\n0\n')
    pose = Pose('rat', 0.3).to_plain()
    stage.add_nodes([Node(Displacement(in_file=str(table), pose=pose), name='mean')])
    workflow = Workflow(name='scan_wf', base_dir=str(tmp_path))
    workflow.add_nodes([stage])
    configure(workflow)
    with pytest.raises(SurroundingsError) as caught:
        run_workflow(workflow, Execution(nprocs=nprocs))
    said = str(caught.value)
    assert "The stage 'motion correction, mean' (mean) stopped with \"KeyError" in said
    path = Path(said.partition('The full error is in ')[2].partition(';')[0])
    assert 'KeyError' in path.read_text()
    assert '\n' not in said


def test_a_fault_of_the_program_outside_the_stages_is_a_paragraph(job, monkeypatch):
    failing(monkeypatch, KeyError('x'))
    outcome = run_job(job)
    assert outcome.status == 'failed'
    assert "KeyError: 'x'" in outcome.reason
    path = Path(outcome.reason.partition('The full error is in ')[2].partition(':')[0])
    assert 'Traceback' in path.read_text()
    assert known(job) is None
