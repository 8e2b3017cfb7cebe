"""How a graph is run: plugin, cache, progress, and what a failure says."""

import errno
import logging
import os
import re
from pathlib import Path

from nipype.pipeline import plugins
from nipype.pipeline.engine import Workflow
from rich.console import Console

from secondglance.files.atomic import no_room
from secondglance.imaging.errors import InputError, SurroundingsError
from secondglance.pipelines.execution.cache import remove_broken, seal_node, seal_workflow
from secondglance.pipelines.execution.processes import METHOD, WARM, start_server
from secondglance.pipelines.settings import Execution

# Local jobs last milliseconds: the engine's own two seconds between two looks would be most of
# the run. Batch systems are asked at the engine's own pace.
LOCAL_POLL_SECONDS = 0.02


_SLURM_PLUGINS = ('SLURM', 'SLURMGraph')


_LOCAL_PLUGINS = ('Linear', 'MultiProc', 'LegacyMultiProc')


STAGES = {
    'preproc_wf': 'motion correction, mean',
    'brain_wf': 'first glance, brain mask',
    'tissues_wf': 'second glance',
    'outputs_wf': 'report, derivatives',
}


def configure(
    workflow: Workflow, *, verbose: bool = False, stop_on_first_crash: bool = False
) -> None:
    """Set what the engine must know before the graph runs: cache by content, crash files as text.

    Parameters
    ----------
    workflow : Workflow
        Its `base_dir` is set.
    verbose : bool
        Show the engine's own log.
    stop_on_first_crash : bool
    """
    workflow.config['execution'] = {
        'hash_method': 'content',
        'crashfile_format': 'txt',
        'crashdump_dir': str(Path(workflow.base_dir) / 'crash'),
        'poll_sleep_duration': LOCAL_POLL_SECONDS,
        'stop_on_first_crash': str(stop_on_first_crash).lower(),
        'remove_unnecessary_outputs': 'false',
        'create_report': 'false',
    }
    level = logging.INFO if verbose else logging.CRITICAL
    # The last prints a traceback where a process was killed
    quiet = ('nipype', 'nipype.workflow', 'nipype.interface', 'nipype.utils', 'concurrent.futures')
    for name in quiet:
        logging.getLogger(name).setLevel(level)


def run_workflow(workflow: Workflow, execution: Execution, *, console: Console | None = None):
    """Run a graph to its end, showing one line a stage.

    Parameters
    ----------
    workflow : Workflow
        Configured by :func:`configure`.
    execution : Execution
        One process runs everything in this process.
    console : rich.console.Console, optional

    Returns
    -------
    networkx.DiGraph
        Of the nodes that were run, each with its `result`.

    Raises
    ------
    InputError
        With the sentence of the node that failed.
    SurroundingsError
        Where it was not the scan's fault; of an unknown error, with the last line of its
        traceback and where the whole of it is.
    """
    plugin = execution.plugin or ('Linear' if execution.nprocs == 1 else 'MultiProc')
    arguments = dict(execution.plugin_args or {})
    if plugin in _LOCAL_PLUGINS:
        if plugin != 'Linear':
            start_server(WARM)
        defaults = {
            'n_procs': execution.nprocs * execution.threads,
            'mp_context': METHOD,
            'n_gpu_procs': int(execution.gpu),
        }
        if execution.mem_gb:
            defaults['memory_gb'] = execution.mem_gb
        arguments = {**defaults, **arguments}
    else:
        del workflow.config['execution']['poll_sleep_duration']
        # The engine's batch plugins ask for it, and containers have none
        os.environ.setdefault('LOGNAME', 'secondglance')
    if plugin in _SLURM_PLUGINS:
        _ask_slurm(workflow, str(arguments.get('sbatch_args', '')))
    progress = _Progress(workflow, console)
    arguments['status_callback'] = progress.update
    _quiet_workers(Path(workflow.base_dir))
    folder = Path(workflow.base_dir) / workflow.name
    remove_broken(folder)
    try:
        with progress:
            graph = workflow.run(plugin=plugin, plugin_args=arguments)
        # Some plugins do not report the end of a node
        seal_workflow(folder)
        return graph
    except Exception as error:
        raise _fault(error, Path(workflow.base_dir) / 'crash') from error


def _ask_slurm(workflow: Workflow, users: str) -> None:
    """Ask for the CPUs and memory that each node says it needs: the engine does not.

    What the user asks for comes last, and so counts.
    """
    for name in workflow.list_node_names():
        node = workflow.get_node(name)
        cpus, megabytes = int(node.n_procs or 1), int(1024 * node.mem_gb)
        asked = f'--cpus-per-task={cpus} --mem={megabytes}M {users}'.strip()
        node.plugin_args = {'sbatch_args': asked, 'overwrite': True}


def _quiet_workers(folder: Path) -> None:
    """Have the engine's other processes log as this one does: each reads a file at its start."""
    level = logging.getLevelName(logging.getLogger('nipype.workflow').level)
    settings = folder / 'nipype'
    settings.mkdir(parents=True, exist_ok=True)
    loggers = ('workflow', 'interface', 'utils')
    lines = [f'{name}_level = {level}' for name in loggers]
    (settings / 'nipype.cfg').write_text('\n'.join(['[logging]', *lines, '']))
    os.environ.setdefault('NIPYPE_CONFIG_DIR', str(settings))


def check_plugin(name: str) -> None:
    """Refuse a plugin that Nipype has not.

    Raises
    ------
    InputError
    """
    known = sorted(n.removesuffix('Plugin') for n in dir(plugins) if n.endswith('Plugin'))
    if name not in known:
        raise InputError(f'--plugin {name} is not one that Nipype has: {", ".join(known)}.')


def _fault(error: BaseException, crash_dir: Path) -> InputError:
    """Say in one sentence what a node's traceback says, and whether it is the scan's fault.

    Examples
    --------
    >>> _fault(RuntimeError('Traceback …\\nx.errors.InputError: No b0 in a.nii.'), Path('c'))
    InputError('No b0 in a.nii.')
    """
    chain = []
    link: BaseException | None = error
    while link is not None:
        chain.append(f'{type(link).__name__}: {link}')
        link = link.__cause__
    text = '\n'.join(chain)
    if found := re.search(r'\bSurroundingsError: (.+)', text):
        return SurroundingsError(found[1].strip())
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(number) in text:
            said = no_room(OSError(number, ''), crash_dir.parent)
            return SurroundingsError(str(said))
    if found := re.search(r'\bInputError: (.+)', text):
        return InputError(found[1].strip())
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r'[\w.]*(Error|Exception|Killed)\b', line)]
    what = (errors or lines or ['unknown error'])[-1]
    return SurroundingsError(f'A stage stopped with {what!r}; the full error is in {crash_dir}.')


class _Progress:
    """One line a stage, with how many of its nodes are done."""

    def __init__(self, workflow: Workflow, console):
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self._bar = Progress(
            TextColumn('  {task.description:<28}'),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=console is None,
        )
        counts: dict[str, int] = {}
        for name in workflow.list_node_names():
            stage = name.split('.')[0]
            if stage in STAGES and not name.endswith(('inputnode', 'outputnode')):
                counts[stage] = counts.get(stage, 0) + 1
        self._tasks = {
            stage: self._bar.add_task(STAGES[stage], total=counts[stage])
            for stage in STAGES
            if stage in counts
        }

    def __getstate__(self):
        # The engine writes nodes to disk, and this with them: there it has nothing to show
        return {'_tasks': {}}

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, kind, *_):
        # What was cached has reported nothing
        if kind is None:
            for task in self._tasks.values():
                self._bar.update(task, completed=self._bar.tasks[task].total)
        self._bar.stop()

    def update(self, node, status: str) -> None:
        """Take note of a node that started, ended or failed."""
        if status == 'end':
            seal_node(Path(node.output_dir()))
        parts = node.fullname.split('.')
        stage = next((part for part in parts if part in self._tasks), None)
        # The parts of a MapNode report too, as nodes of their own
        if stage and status == 'end' and not parts[-1].startswith('_'):
            self._bar.advance(self._tasks[stage])
