"""A stage that ends without a result has failed; nothing waits for it."""

import subprocess
import sys
from pathlib import Path

import pytest

import secondglance

RUN = """
import sys
from nipype import Function, Node, Workflow
from secondglance.imaging.errors import SurroundingsError
from secondglance.pipelines import Execution
from secondglance.pipelines.execution.nipype_engine import configure, run_workflow

def end(how):
    import os
    if how == 'killed':
        os._exit(9)
    raise ValueError(how)

if __name__ == '__main__':
    workflow = Workflow('wf', base_dir=sys.argv[1])
    one, other = (
        Node(Function(['how'], ['out'], end), name=name) for name in ('one', 'other')
    )
    one.inputs.how = other.inputs.how = sys.argv[2]
    workflow.add_nodes([one, other])
    configure(workflow)
    try:
        run_workflow(workflow, Execution(nprocs=2))
    except SurroundingsError as error:
        print('said:', error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ('how', 'says'), [('killed', 'A process was killed while it ran a stage'), ('lost', 'lost')]
)
def test_a_stage_without_a_result_has_failed(tmp_path, how, says):
    (tmp_path / 'run.py').write_text(RUN)
    # Where it is waited for, it is waited for for ever
    ran = subprocess.run(
        [sys.executable, str(tmp_path / 'run.py'), str(tmp_path / 'work'), how],
        capture_output=True, text=True, timeout=120, check=True,
        env={'PYTHONPATH': str(Path(secondglance.__file__).parent.parent), 'NIPYPE_NO_ET': '1'},
    )  # fmt: skip
    assert 'said: ' in ran.stdout, ran.stderr
    assert says in ran.stdout
