"""How a graph is run: plugin, cache, progress, and what a failure says."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any, Self

from nipype.pipeline import plugins
from nipype.pipeline.engine import Node, Workflow
from rich.console import Console, RenderableType

from secondglance.files.atomic import no_room
from secondglance.imaging.errors import InputError, SurroundingsError
from secondglance.models.pace import duration
from secondglance.pipelines.execution.cache import remove_broken, seal_node, seal_workflow
from secondglance.pipelines.execution.content_hash import hash_once
from secondglance.pipelines.execution.environment import environment
from secondglance.pipelines.execution.processes import METHOD, WARM, import_aside, start_server
from secondglance.pipelines.settings import Execution

if TYPE_CHECKING:
    from networkx import DiGraph

# Local jobs last milliseconds: the engine's own two seconds between two looks would be most of
# the run. Batch systems are asked at the engine's own pace.
LOCAL_POLL_SECONDS = 0.02


_SLURM_PLUGINS = ('SLURM', 'SLURMGraph')


_LOCAL_PLUGINS = ('Linear', 'MultiProc', 'LegacyMultiProc')


STAGE_TITLES = {
    'preproc_wf': 'motion correction, mean',
    'brain_wf': 'first glance, brain mask',
    'tissues_wf': 'second glance',
    'outputs_wf': 'report, derivatives',
}

USUAL_SHARES = {'preproc_wf': 0.33, 'brain_wf': 0.44, 'tissues_wf': 0.11, 'outputs_wf': 0.12}
"""Of the time of a scan: an EPI volume of 17 slices on one core."""

KILLED = (
    'A process was killed while it ran a stage, as where memory is short: free some, or give '
    'fewer --nprocs, and call again.'
)

NO_MEMORY = re.compile(
    r'\b(MemoryError|_ArrayMemoryError)\b|allocate memory|failed to map segment|bad_alloc'
)
"""What the system, Python, NumPy, torch and C++ say where memory runs out."""

REFRESHES = 4
"""Of the lines on a terminal, a second."""

LEAST_SHARE = 0.15
"""Of a scan that must be done before the time left is told."""


class MultiProcPlugin(plugins.MultiProcPlugin):
    """Nipype's own; a stage has failed if its process was killed, or could write nothing.

    Nipype drops what such a process leaves, and waits for its result for ever.
    """

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        task = self._task_obj.get(taskid)
        if task is not None and task.done() and (error := task.exception()) is not None:
            if isinstance(error, BrokenExecutor):
                error = SurroundingsError(KILLED)
            return {'result': None, 'traceback': format_exception(error), 'taskid': taskid}
        return super()._get_result(taskid)


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
    hash_once()
    workflow.config['execution'] = {
        'hash_method': 'content',
        'crashfile_format': 'txt',
        'crashdump_dir': str(Path(workflow.base_dir) / 'crash'),
        'poll_sleep_duration': LOCAL_POLL_SECONDS,
        'stop_on_first_crash': str(stop_on_first_crash).lower(),
        'remove_unnecessary_outputs': 'false',
        'create_report': 'false',
    }
    # Nothing of it, whatever went wrong: what fails says so in a sentence
    level = logging.INFO if verbose else logging.CRITICAL + 1
    # The last prints a traceback where a process was killed
    quiet = ('nipype', 'nipype.workflow', 'nipype.interface', 'nipype.utils', 'concurrent.futures')
    for name in quiet:
        logging.getLogger(name).setLevel(level)


def run_workflow(
    workflow: Workflow, execution: Execution, *, console: Console | None = None
) -> DiGraph:
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
    if plugin in _SLURM_PLUGINS:
        ask_slurm(workflow, str(arguments.get('sbatch_args', '')))
    progress = StageProgress(workflow, console)
    arguments['status_callback'] = progress.update
    folder = Path(workflow.base_dir) / workflow.name
    remove_broken(folder)
    variables = {'NIPYPE_CONFIG_DIR': quiet_settings(Path(workflow.base_dir))}
    if plugin not in _LOCAL_PLUGINS:
        # The engine's batch plugins ask for it, and containers have none
        variables['LOGNAME'] = 'secondglance'
    began = time.time()
    try:
        with environment(**variables), progress:
            if plugin == 'Linear':
                import_aside(WARM)
            elif plugin in _LOCAL_PLUGINS:
                # Before the first of its processes, which hands on what it has read
                start_server(WARM)
            runner = MultiProcPlugin(arguments) if plugin == 'MultiProc' else plugin
            graph = workflow.run(plugin=runner, plugin_args=arguments)
        # Some plugins do not report the end of a node
        seal_workflow(folder)
        return graph
    except Exception as error:
        raise fault_of(error, Path(workflow.base_dir) / 'crash', workflow.name, began) from error


def ask_slurm(workflow: Workflow, users: str) -> None:
    """Ask for the CPUs and memory that each node says it needs: the engine does not.

    What the user asks for comes last, and so counts.
    """
    for name in workflow.list_node_names():
        node = workflow.get_node(name)
        cpus, megabytes = int(node.n_procs or 1), int(1024 * node.mem_gb)
        asked = f'--cpus-per-task={cpus} --mem={megabytes}M {users}'.strip()
        node.plugin_args = {'sbatch_args': asked, 'overwrite': True}


def quiet_settings(folder: Path) -> str:
    """Write what the engine's other processes read at their start: to log as this one does."""
    # Levels have names there
    level = min(logging.getLogger('nipype.workflow').level, logging.CRITICAL)
    settings = folder / 'nipype'
    settings.mkdir(parents=True, exist_ok=True)
    loggers = ('workflow', 'interface', 'utils')
    lines = [f'{name}_level = {logging.getLevelName(level)}' for name in loggers]
    (settings / 'nipype.cfg').write_text('\n'.join(['[logging]', *lines, '']))
    return str(settings)


def check_plugin(name: str) -> None:
    """Refuse a plugin that Nipype has not.

    Raises
    ------
    InputError
    """
    known = sorted(n.removesuffix('Plugin') for n in dir(plugins) if n.endswith('Plugin'))
    if name not in known:
        raise InputError(f'--plugin {name} is not one that Nipype has: {", ".join(known)}.')


def fault_of(
    error: BaseException, crash_dir: Path, name: str = '', began: float = 0
) -> InputError:
    """Say in one paragraph what a node's traceback says, and whether it is the scan's fault.

    Parameters
    ----------
    error : BaseException
    crash_dir : Path
        Where the engine leaves the whole of it.
    name : str
        Of the workflow: others leave theirs there, too.
    began : float
        When it was started, s since the epoch.

    Examples
    --------
    >>> fault_of(RuntimeError('Traceback …\\nx.errors.InputError: No b0 in a.nii.'), Path('c'))
    InputError('No b0 in a.nii.')
    """
    chain = []
    link: BaseException | None = error
    while link is not None:
        chain.append(f'{type(link).__name__}: {link}')
        link = link.__cause__
    text = '\n'.join(chain)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(number) in text:
            said = no_room(OSError(number, ''), crash_dir.parent)
            return SurroundingsError(str(said))
    stage, trace = _crashed(crash_dir, name, began)
    if found := re.search(r'\bSurroundingsError: (.+)', text):
        return SurroundingsError(f'{found[1].strip()}{f" It was {stage}." if stage else ""}')
    if found := re.search(r'\bInputError: (.+)', text):
        return InputError(found[1].strip())
    if re.search(r'\bBroken(ProcessPool|Executor): ', text):
        # Found by the next stage that was to start
        return SurroundingsError(KILLED)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r'[\w.]*(Error|Exception|Killed)\b', line)]
    what = (errors or lines or ['unknown error'])[-1]
    stage = stage or 'a stage'
    if NO_MEMORY.search(text):
        return SurroundingsError(
            f'Memory ran out in {stage}: free some, or give --nprocs 1, and call again. The full '
            f'error is in {trace}.'
        )
    return SurroundingsError(
        f'{stage[0].upper()}{stage[1:]} stopped with {what!r}. The full error is in {trace}; what '
        'was done before is kept, and the same call goes on from there.'
    )


def _crashed(crash_dir: Path, name: str, began: float) -> tuple[str, Path]:
    """Name the stage that crashed, and the file with its traceback, by what the engine left.

    Returns
    -------
    stage : str
        Empty where nothing is found.
    trace : Path
        The folder, then.
    """
    first: tuple[float, str, Path] | None = None
    for path in crash_dir.glob('crash-*'):
        with contextlib.suppress(OSError):
            with path.open(errors='replace') as stream:
                found = re.match(rf'Node: {re.escape(name)}\.([\w.]+)', stream.readline())
            about = (path.stat().st_mtime, found[1] if found else '', path)
            if found and about[0] >= began - 1 and (first is None or about < first):
                first = about
    if first is None:
        return '', crash_dir
    stage, _, node = first[1].partition('.')
    return f'the stage {STAGE_TITLES.get(stage, stage)!r} ({node})', first[2]


def stages_of(workflow: Workflow) -> dict[str, list[str]]:
    """List the nodes of each stage, by its sub-workflow's name, in the order of `STAGE_TITLES`."""
    nodes: dict[str, list[str]] = {}
    for name in workflow.list_node_names():
        stage, _, node = name.partition('.')
        if stage in STAGE_TITLES and node not in ('', 'inputnode', 'outputnode'):
            nodes.setdefault(stage, []).append(node)
    return {stage: nodes[stage] for stage in STAGE_TITLES if stage in nodes}


def time_left(elapsed: float, done: Mapping[str, float]) -> str:
    """Estimate how long a scan still takes.

    Parameters
    ----------
    elapsed : float
        Since its start, s.
    done : mapping of str to float
        Stage to the share of its nodes that is done.

    Returns
    -------
    str
        Nothing at the start and at the end.

    Examples
    --------
    >>> time_left(10.0, {'preproc_wf': 1.0, 'brain_wf': 0.0})
    'about 13 s left'
    >>> time_left(300.0, {'preproc_wf': 1.0, 'brain_wf': 0.0})
    'about 7 min left'
    >>> time_left(1.0, {'preproc_wf': 0.1, 'brain_wf': 0.0}), time_left(9.0, {'brain_wf': 1.0})
    ('', '')
    """
    whole = sum(USUAL_SHARES[stage] for stage in done)
    share = sum(USUAL_SHARES[stage] * part for stage, part in done.items()) / whole
    if not LEAST_SHARE <= share < 1:
        return ''
    left = elapsed * (1 - share) / share
    return f'about {duration(left)} left'


class StageProgress:
    """One line a stage, with how many of its nodes are done; below the last, the time left."""

    def __init__(self, workflow: Workflow, console: Console | None):
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
            TextColumn('{task.fields[left]}'),
            console=console,
            disable=console is None,
            # A file gets the last state alone; drawn in vain it would cost a core a percent or two
            auto_refresh=console is not None and console.is_terminal,
            refresh_per_second=REFRESHES,
        )
        self._tasks = {
            stage: self._bar.add_task(STAGE_TITLES[stage], total=len(nodes), left='')
            for stage, nodes in stages_of(workflow).items()
        }

    def __getstate__(self) -> dict[str, Any]:
        # The engine writes nodes to disk, and this with them: there it has nothing to show
        return {'_tasks': {}}

    def __rich__(self) -> RenderableType:
        return self._bar.get_renderable()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What was cached has reported nothing
        if kind is None:
            for task in self._tasks.values():
                self._bar.update(task, completed=self._bar.tasks[task].total)
        for task in self._tasks.values():
            self._bar.update(task, left='')
        self._bar.stop()

    def update(self, node: Node, status: str) -> None:
        """Take note of a node that started, ended or failed."""
        if status == 'end':
            seal_node(Path(node.output_dir()))
        parts = node.fullname.split('.')
        stage = next((part for part in parts if part in self._tasks), None)
        # The parts of a MapNode report too, as nodes of their own
        if stage and status == 'end' and not parts[-1].startswith('_'):
            self._bar.advance(self._tasks[stage])
            self._tell_left()

    def _tell_left(self) -> None:
        """Write the time left beside the first stage that is not done."""
        tasks = {stage: self._bar.tasks[task] for stage, task in self._tasks.items()}
        parts = {stage: task.completed / (task.total or 1) for stage, task in tasks.items()}
        elapsed = max(task.elapsed or 0.0 for task in tasks.values())
        left = time_left(elapsed, parts)
        for stage, task in tasks.items():
            self._bar.update(task.id, left=left if parts[stage] < 1 else '')
            left = left if parts[stage] >= 1 else ''
