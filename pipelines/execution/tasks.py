"""The stages as Pydra tasks, for laboratories with pipelines in Pydra.

Each runs the same interface as the node of the Nipype graph, so its files are the same::

    from secondglance.pipelines import load_pydra, stage

    pydra = load_pydra()
    workflow = pydra.Workflow(name='mine', input_spec=['volume'])
    workflow.add(stage('pose', in_file=workflow.lzin.volume, weights='w.safetensors'))
    workflow.add(
        stage('slabs', in_file=workflow.lzin.volume, pose=workflow.pose.lzout.pose)
    )
    workflow.add(
        stage('first_glance', in_file=workflow.slabs.lzout.stack, weights='w.safetensors')
    )
"""

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base.traits_extension import BasePath

from secondglance.imaging.errors import InputError
from secondglance.interfaces.brain import Refine, SelectMask
from secondglance.interfaces.donors import DonorSaliency
from secondglance.interfaces.placement import Place
from secondglance.interfaces.pose import EstimatePose
from secondglance.interfaces.preprocessing import SitkMotion
from secondglance.interfaces.saliency import Enhance, Explain, Saliency
from secondglance.interfaces.stacks import ToNative, ToSlabs
from secondglance.interfaces.tissues import Labels, LookAgain, Predict
from secondglance.pipelines.execution.cohort import load_pydra
from secondglance.pipelines.settings import absolute

if TYPE_CHECKING:
    from pydra.engine.task import FunctionTask

STAGES = {
    'motion_correction': SitkMotion,
    'pose': EstimatePose,
    'slabs': ToSlabs,
    'to_native': ToNative,
    'first_glance': Saliency,
    'enhance': Enhance,
    'donor_saliency': DonorSaliency,
    'place': Place,
    'refine': Refine,
    'brain': SelectMask,
    'look_again': LookAgain,
    'second_glance': Predict,
    'labels': Labels,
    'explain': Explain,
}
"""Interfaces by the names that their nodes have."""


def stage(
    name: str, *, task_name: str | None = None, cache_dir: str | Path | None = None, **inputs: Any
) -> 'FunctionTask':
    """Make a Pydra task of a stage.

    Parameters
    ----------
    name : str
        One of `STAGES`.
    task_name : str, optional
        Of the task, by default `name`.
    cache_dir : path, optional
        Where Pydra keeps results.
    **inputs
        Of the interface, as values or as other tasks' outputs.

    Returns
    -------
    pydra.engine.task.FunctionTask
        Its outputs have the names of the interface's.

    Raises
    ------
    InputError
        For a stage or an input that there is not.
    """
    pydra = load_pydra()
    if name not in STAGES:
        raise InputError(f'Stage {name!r} is not one of {", ".join(STAGES)}.')
    interface = STAGES[name]
    known = interface.input_spec().copyable_trait_names()
    if unknown := set(inputs) - set(known):
        raise InputError(
            f'Stage {name!r} has no input {", ".join(sorted(unknown))}; it has {", ".join(known)}.'
        )
    outputs = interface.output_spec().copyable_trait_names()
    # Pydra runs a task in a folder of its own
    traits = interface.input_spec().traits()
    for key, value in inputs.items():
        if isinstance(value, str | Path) and traits[key].is_trait_type(BasePath):
            inputs[key] = str(absolute(value))

    def run_stage(**given: object) -> object:
        # Pydra runs a task in the folder of its results
        found = interface(**given).run(cwd=os.getcwd()).outputs.get()
        values = tuple(found[output] for output in outputs)
        return values if len(values) > 1 else values[0]

    parameters = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=Any) for key in inputs
    ]
    run_stage.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run_stage.__annotations__ = dict.fromkeys(inputs, Any)
    run_stage.__annotations__['return'] = dict.fromkeys(outputs, Any)
    run_stage.__name__ = run_stage.__qualname__ = name
    options = {} if cache_dir is None else {'cache_dir': cache_dir}
    return pydra.mark.task(run_stage)(name=task_name or name, **inputs, **options)
