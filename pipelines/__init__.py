"""Nipype workflow factories, one sub-workflow a file."""

from secondglance.models.choices import SaliencyOptions
from secondglance.pipelines.brain import init_brain_wf
from secondglance.pipelines.explain import init_explain_wf
from secondglance.pipelines.outputs import init_outputs_wf
from secondglance.pipelines.preproc import init_preproc_wf
from secondglance.pipelines.settings import Execution, Method
from secondglance.pipelines.subject import init_subject_wf
from secondglance.pipelines.tissues import init_tissues_wf

__all__ = [
    'Execution',
    'Method',
    'SaliencyOptions',
    'init_brain_wf',
    'init_explain_wf',
    'init_outputs_wf',
    'init_preproc_wf',
    'init_subject_wf',
    'init_tissues_wf',
]
