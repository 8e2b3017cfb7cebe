"""The directive ``columns``: columns and units of every table, as the JSON files name them."""

from docutils import nodes
from docutils.parsers.rst import Directive

from secondglance.pipelines.sidecars import TABLE_COLUMNS, TABLES


def _table(rows: list[tuple[str, str, str]]) -> nodes.table:
    table = nodes.table()
    group = nodes.tgroup(cols=3)
    table += group
    for width in (22, 10, 68):
        group += nodes.colspec(colwidth=width)
    for part, some in ((nodes.thead(), [('column', 'unit', 'what')]), (nodes.tbody(), rows)):
        for name, *others in some:
            line = nodes.row()
            first = nodes.paragraph()
            first += nodes.literal(text=name) if part.tagname == 'tbody' else nodes.Text(name)
            line += nodes.entry('', first)
            for text in others:
                line += nodes.entry('', nodes.paragraph(text=text))
            part += line
        group += part
    return table


class Columns(Directive):
    """A table of columns for each table that is written."""

    def run(self):
        """Make the nodes."""
        made = []
        for ending, columns in TABLE_COLUMNS.items():
            words = nodes.paragraph()
            words += [nodes.literal(text=f'…_{ending}.tsv'), nodes.Text(f': {TABLES[ending]}')]
            rows = [
                (name, about.get('Units', ''), str(about.get('Description', '')))
                for name, about in columns.items()
            ]
            made += [words, _table(rows)]
        return made


def setup(app):
    """Register the directive."""
    app.add_directive('columns', Columns)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
