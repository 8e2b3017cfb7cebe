"""Nipype workflow factories, one sub-workflow a file."""

import importlib
from typing import Any

_HOMES = {
    'Execution': 'pipelines.settings',
    'Method': 'pipelines.settings',
    'SaliencyOptions': 'models.choices',
    'init_brain_wf': 'pipelines.brain',
    'init_explain_wf': 'pipelines.explain',
    'init_outputs_wf': 'pipelines.outputs',
    'init_preproc_wf': 'pipelines.preproc',
    'init_subject_wf': 'pipelines.subject',
    'init_tissues_wf': 'pipelines.tissues',
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a factory, and the workflow engine with it, only when it is asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(f'secondglance.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return [*globals(), *__all__]
