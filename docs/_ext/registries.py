"""The directive ``registry``: methods, recipes and contrasts, as the command line has them."""

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from registry_rows import REGISTRIES


class Registry(Directive):
    """A table of what a user may choose from, an entry a row."""

    required_arguments = 1

    def run(self):
        """Make the nodes."""
        names, rows = REGISTRIES[directives.choice(self.arguments[0], REGISTRIES)]()
        table = nodes.table()
        group = nodes.tgroup(cols=len(names))
        table += group
        for index in range(len(names)):
            group += nodes.colspec(colwidth=50 if index == 1 and len(names) != 4 else 12)
        for part, some in ((nodes.thead(), [names]), (nodes.tbody(), rows)):
            for texts in some:
                line = nodes.row()
                for index, text in enumerate(texts):
                    cell = nodes.paragraph()
                    code = text[:1] == '`' or (index == 0 and part.tagname == 'tbody')
                    cell += nodes.literal(text=text.strip('`')) if code else nodes.Text(text)
                    line += nodes.entry('', cell)
                part += line
            group += part
        return [table]


def setup(app):
    """Register the directive."""
    app.add_directive('registry', Registry)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
