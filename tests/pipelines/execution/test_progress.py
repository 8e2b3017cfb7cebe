"""What a terminal shows while a scan runs."""

import io
import re

import pytest
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow
from rich.console import Console

from secondglance.pipelines.execution.nipype_engine import (
    STAGE_TITLES,
    USUAL_SHARES,
    StageProgress,
    configure,
    run_workflow,
    stages_of,
    time_left,
)
from secondglance.pipelines.settings import LOCAL


@pytest.fixture
def scan(tmp_path):
    """Two stages of three and of one node, in the order in which they are not run."""
    workflow = Workflow('scan', base_dir=str(tmp_path))
    for stage, names in (('brain_wf', ['place']), ('preproc_wf', ['select', 'align', 'mean'])):
        inner = Workflow(stage)
        nodes = [Node(IdentityInterface(['x']), name=n) for n in ('inputnode', *names)]
        for node in nodes:
            node.inputs.x = 1
        inner.add_nodes(nodes)
        workflow.add_nodes([inner])
    return workflow


def shown(progress):
    """Lines of the bar, as they stand."""
    text = io.StringIO()
    Console(file=text, width=120).print(progress)
    return text.getvalue().splitlines()


def test_stages_are_in_order_and_have_their_nodes(scan):
    found = stages_of(scan)
    assert list(found) == ['preproc_wf', 'brain_wf']
    assert sorted(found['preproc_wf']) == ['align', 'mean', 'select']


def test_every_stage_has_a_usual_share():
    assert set(USUAL_SHARES) == set(STAGE_TITLES)
    assert sum(USUAL_SHARES.values()) == pytest.approx(1)


def test_time_left_shrinks_with_what_is_done():
    told = [
        int(re.findall(r'about (\d+) s', time_left(20.0, {'preproc_wf': part, 'brain_wf': 0}))[0])
        for part in (0.6, 0.8, 1.0)
    ]
    assert told == sorted(told, reverse=True)
    assert len(set(told)) == 3


def test_time_left_stands_beside_the_stage_that_runs(scan):
    progress = StageProgress(scan, Console(file=io.StringIO(), force_terminal=True))
    with progress:
        for name in ('select', 'align', 'mean'):
            progress.update(scan.get_node(f'preproc_wf.{name}'), 'end')
        first, second = shown(progress)
        assert first.startswith(f'  {STAGE_TITLES["preproc_wf"]}')
        assert ' 3/3 ' in first
        assert 'left' not in first
        assert re.search(r' 0/1 .*about \d+ s left', second)
    assert not any('left' in line for line in shown(progress))


def test_a_log_has_a_plain_line_a_stage(scan):
    log = io.StringIO()
    configure(scan)
    run_workflow(scan, LOCAL, console=Console(file=log, width=100))
    lines = [line for line in log.getvalue().splitlines() if line.strip()]
    assert [line.split('  ')[1].strip() for line in lines] == [
        STAGE_TITLES['preproc_wf'],
        STAGE_TITLES['brain_wf'],
    ]
    assert '3/3' in lines[0]
    assert '\x1b' not in log.getvalue()
    assert 'left' not in log.getvalue()
