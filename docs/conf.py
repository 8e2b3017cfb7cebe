"""The documentation site: ``make docs``. Nothing in it needs the network, built or read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / '_ext'))

import secondglance

project = 'secondglance'
author = 'the secondglance developers'
copyright = author
release = version = secondglance.__version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'command_line',
    'mathml',
    'output_tables',
    'registries',
    'workflow_graph',
]
exclude_patterns = ['_build', '_ext', 'examples']
source_suffix = {'.md': 'markdown', '.rst': 'restructuredtext'}

myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 4

autosummary_generate = True
autodoc_default_options = {'members': True, 'member-order': 'bysource', 'ignore-module-all': True}
autodoc_typehints = 'none'
autodoc_inherit_docstrings = False
# Docstrings are numpydoc; those of workflows have two sections more
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [('Inputs', 'params_style'), ('Outputs', 'params_style')]
# Names in single backticks are code, not titles
default_role = 'code'

# Options begin with two hyphens
smartquotes = False

html_theme = 'furo'
html_title = f'secondglance {version}'
html_static_path = []
html_show_sphinx = False
html_copy_source = False
html_math_renderer = 'mathml'
templates_path = ['_templates']
highlight_language = 'none'
pygments_style = 'default'


def _list_inputs_and_outputs(app, what, name, obj, options, lines):
    """Add to the docstring of an interface what Nipype prints as its help."""
    from nipype.interfaces.base import BaseInterface
    from nipype.interfaces.base.support import format_help

    if what == 'class' and isinstance(obj, type) and issubclass(obj, BaseInterface):
        text = format_help(obj)
        lines += ['', '.. code-block:: text', '', *(f'   {line}' for line in text.splitlines())]


def setup(app):
    """Connect what is above."""
    app.connect('autodoc-process-docstring', _list_inputs_and_outputs)
