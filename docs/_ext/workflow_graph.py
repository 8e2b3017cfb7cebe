"""The directive ``workflow``: nodes and edges of a workflow, drawn when the site is built."""

import importlib
import inspect
import io
import re
from pathlib import Path

import matplotlib
import networkx as nx
from docutils import nodes
from docutils.parsers.rst import Directive
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from secondglance.files.bids import Scan
from secondglance.pipelines import Method

SCAN = Scan(Path('sub-01_dwi.nii.gz'), {'sub': '01'}, 'dwi', 'dwi')


def draw(workflow, name: str) -> str:
    """Draw the nodes of a workflow, from left to right, as SVG.

    Edges between nodes that a longer path joins are left out.
    """
    graph = nx.DiGraph((source.name, target.name) for source, target in workflow._graph.edges())
    graph = nx.transitive_reduction(graph)
    column = {}
    for layer, names in enumerate(nx.topological_generations(graph)):
        column |= dict.fromkeys(names, layer)
    columns = [[n for n in graph if column[n] == c] for c in sorted(set(column.values()))]
    place = {}
    for index, names in enumerate(columns):
        # Nodes stand beside what they come from
        names.sort(key=lambda name: _mean([place[p][1] for p in graph.predecessors(name)]))
        for row, name in enumerate(names):
            place[name] = (index, (len(names) - 1) / 2 - row)
    tallest = max(len(names) for names in columns)
    figure = Figure(figsize=(1.4 * len(columns), 0.6 * tallest + 0.3), dpi=72)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    box = {'boxstyle': 'round,pad=0.35', 'facecolor': '#eef3f8', 'edgecolor': '#4a6a8a'}
    boxes = {
        label: axes.text(x, y, label, ha='center', va='center', fontsize=8, bbox=box, zorder=3)
        for label, (x, y) in place.items()
    }
    axes.set_xlim(-0.55, len(columns) - 0.45)
    axes.set_ylim(-tallest / 2 - 0.2, tallest / 2 + 0.2)
    axes.axis('off')
    # Only once they are drawn do boxes have a size, at which arrows can end
    FigureCanvasAgg(figure).draw()
    for source, target in graph.edges():
        far = place[target][0] - place[source][0] > 1
        axes.annotate(
            '',
            xy=place[target],
            xytext=place[source],
            arrowprops={
                'arrowstyle': '-|>',
                'color': '#4a6a8a',
                'lw': 0.8,
                'patchA': boxes[source].get_bbox_patch(),
                'patchB': boxes[target].get_bbox_patch(),
                'connectionstyle': f'arc3,rad={0.12 if far else 0}',
            },
            zorder=1,
        )
    drawn = io.StringIO()
    with matplotlib.rc_context({'svg.hashsalt': name, 'svg.fonttype': 'none'}):
        figure.savefig(drawn, format='svg', metadata={'Date': None})
    svg = drawn.getvalue()
    title = f'<title>Graph of {name}</title>'
    size = r'width="([^"]*)" height="[^"]*"'
    svg = re.sub(size, r'style="width: \1; max-width: 100%; height: auto"', svg, count=1)
    return svg[svg.index('<svg') :].replace('>', f' role="img">{title}', 1)


def _mean(values):
    return -sum(values) / len(values) if values else 0.0


class WorkflowGraph(Directive):
    """A picture of what a factory returns with its default arguments."""

    required_arguments = 1

    def run(self):
        """Draw into the page itself."""
        module, factory = self.arguments[0].rsplit('.', 1)
        build = getattr(importlib.import_module(module), factory)
        given = {}
        if 'scan' in inspect.signature(build).parameters:
            given = {'scan': SCAN, 'output_dir': 'out'}
        if 'method' in inspect.signature(build).parameters:
            given['method'] = Method()
        return [nodes.raw('', draw(build(**given), factory), format='html')]


def setup(app):
    """Register the directive."""
    app.add_directive('workflow', WorkflowGraph)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
