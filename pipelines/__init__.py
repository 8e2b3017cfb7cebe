"""Nipype workflow factories, one sub-workflow a file, and what a lab's own pipeline needs."""

import importlib
from typing import Any

_HOMES = {
    'Execution': 'pipelines.settings',
    'Method': 'pipelines.settings',
    'STAGES': 'pipelines.execution.tasks',
    'SaliencyOptions': 'models.choices',
    'Scan': 'files.bids',
    'default_donors': 'pipelines.settings',
    'default_refinement': 'models.weights',
    'default_second_glance': 'models.weights',
    'default_weights': 'models.weights',
    'find_donor': 'files.bids',
    'find_scans': 'files.bids',
    'init_brain_wf': 'pipelines.brain',
    'init_explain_wf': 'pipelines.explain',
    'init_outputs_wf': 'pipelines.outputs',
    'init_preproc_wf': 'pipelines.preproc',
    'init_series_wf': 'pipelines.series',
    'init_subject_wf': 'pipelines.subject',
    'init_tissues_wf': 'pipelines.tissues',
    'load_pydra': 'pipelines.execution.cohort',
    'scan_of_file': 'files.bids',
    'stage': 'pipelines.execution.tasks',
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a factory, and the workflow engine with it, only when it is asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(f'secondglance.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return [*globals(), *__all__]
