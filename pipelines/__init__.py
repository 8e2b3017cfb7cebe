"""Nipype workflow factories, one sub-workflow a file."""

from secondglance.pipelines.explain import init_explain_wf
from secondglance.pipelines.glance import init_glance_wf
from secondglance.pipelines.outputs import init_outputs_wf
from secondglance.pipelines.preproc import init_preproc_wf
from secondglance.pipelines.segment import init_segment_wf
from secondglance.pipelines.subject import Settings, init_subject_wf

__all__ = [
    'Settings',
    'init_explain_wf',
    'init_glance_wf',
    'init_outputs_wf',
    'init_preproc_wf',
    'init_segment_wf',
    'init_subject_wf',
]
