"""The references of a methods paragraph, as BibTeX and as lines of text."""

import re
from dataclasses import dataclass

IDENTIFIER = re.compile(r'\b(?:doi |arXiv:)(10\.\d{4,}/[^\s,;)]+|\d{4}\.\d{4,5})')
"""How a text names a publication: by its DOI, or by its number at arXiv."""


@dataclass(frozen=True)
class Publication:
    """What a reference says.

    Attributes
    ----------
    key : str
        Of its entry.
    kind : str
        Of the entry: ``article``, ``inproceedings`` or ``misc``.
    author : str
        As BibTeX has it.
    title, where : str
        `where`: the journal or the proceedings; empty for a preprint.
    year : int
    volume, pages : str
        Empty where there are none.
    """

    key: str
    kind: str
    author: str
    title: str
    where: str
    year: int
    volume: str = ''
    pages: str = ''


PUBLICATIONS = {
    '10.1007/978-3-030-19823-7_25': Publication(
        'matos2019',
        'inproceedings',
        'Matos, L. N. and Rodrigues, M. F. and Magalhães, R. and Alves, V. and Novais, P.',
        'Interpretability of a Deep Learning Model for Rodents Brain Semantic Segmentation',
        'Artificial Intelligence Applications and Innovations',
        2019,
    ),
    '10.1007/978-3-319-24574-4_28': Publication(
        'ronneberger2015',
        'inproceedings',
        'Ronneberger, Olaf and Fischer, Philipp and Brox, Thomas',
        'U-Net: Convolutional Networks for Biomedical Image Segmentation',
        'Medical Image Computing and Computer-Assisted Intervention',
        2015,
        pages='234--241',
    ),
    '10.1006/nimg.2002.1132': Publication(
        'jenkinson2002',
        'article',
        'Jenkinson, Mark and Bannister, Peter and Brady, Michael and Smith, Stephen',
        'Improved Optimization for the Robust and Accurate Linear Registration and Motion '
        'Correction of Brain Images',
        'NeuroImage',
        2002,
        '17',
        '825--841',
    ),
    '10.3389/fninf.2013.00045': Publication(
        'lowekamp2013',
        'article',
        'Lowekamp, Bradley C. and Chen, David T. and Ibáñez, Luis and Blezek, Daniel',
        'The Design of SimpleITK',
        'Frontiers in Neuroinformatics',
        2013,
        '7',
        '45',
    ),
    '10.1007/978-3-031-73480-9_17': Publication(
        'gopinath2024',
        'inproceedings',
        'Gopinath, Karthik and others',
        'Registration by Regression',
        'Biomedical Image Registration',
        2024,
    ),
    '1412.6806': Publication(
        'springenberg2014',
        'misc',
        'Springenberg, Jost Tobias and Dosovitskiy, Alexey and Brox, Thomas and Riedmiller, '
        'Martin',
        'Striving for Simplicity: The All Convolutional Net',
        '',
        2014,
    ),
    '1703.01365': Publication(
        'sundararajan2017',
        'misc',
        'Sundararajan, Mukund and Taly, Ankur and Yan, Qiqi',
        'Axiomatic Attribution for Deep Networks',
        '',
        2017,
    ),
    '1311.2901': Publication(
        'zeiler2014',
        'misc',
        'Zeiler, Matthew D. and Fergus, Rob',
        'Visualizing and Understanding Convolutional Networks',
        '',
        2013,
    ),
    '1605.01713': Publication(
        'shrikumar2016',
        'misc',
        'Shrikumar, Avanti and Greenside, Peyton and Shcherbina, Anna and Kundaje, Anshul',
        'Not Just a Black Box: Learning Important Features Through Propagating Activation '
        'Differences',
        '',
        2016,
    ),
    '1312.6034': Publication(
        'simonyan2013',
        'misc',
        'Simonyan, Karen and Vedaldi, Andrea and Zisserman, Andrew',
        'Deep Inside Convolutional Networks: Visualising Image Classification Models and '
        'Saliency Maps',
        '',
        2013,
    ),
    '1706.03825': Publication(
        'smilkov2017',
        'misc',
        'Smilkov, Daniel and Thorat, Nikhil and Kim, Been and Viégas, Fernanda and '
        'Wattenberg, Martin',
        'SmoothGrad: removing noise by adding noise',
        '',
        2017,
    ),
}
"""By DOI, or by number at arXiv."""


def cited(text: str) -> list[str]:
    """List the publications that a text names, each once, in its order.

    Examples
    --------
    >>> cited('As in A (doi 10.1000/x.1), B (2014, arXiv:1412.6806) and A (doi 10.1000/x.1).')
    ['10.1000/x.1', '1412.6806']
    """
    return list(dict.fromkeys(name.rstrip('.') for name in IDENTIFIER.findall(text)))


def bibtex(text: str, version: str) -> str:
    """Write an entry for the program and for every publication that a text names.

    Parameters
    ----------
    text : str
        The methods paragraph. What it names and `PUBLICATIONS` does not know has an entry of its
        identifier alone.
    version : str
        Of secondglance.

    Returns
    -------
    str
    """
    program = {
        'author': '{The secondglance developers}',
        'title': '{secondglance}',
        'version': version,
    }
    entries = [_entry('misc', 'secondglance', program)]
    for identifier in cited(text):
        found = PUBLICATIONS.get(identifier)
        if found is None:
            fields, kind, key = {}, 'misc', re.sub(r'\W+', '-', identifier)
        else:
            kind, key = found.kind, found.key
            place = 'booktitle' if kind == 'inproceedings' else 'journal'
            fields = {
                'author': found.author,
                'title': f'{{{found.title}}}',
                place: found.where,
                'year': str(found.year),
                'volume': found.volume,
                'pages': found.pages,
            }
        if identifier.startswith('10.'):
            fields['doi'] = identifier
        else:
            fields |= {'eprint': identifier, 'archiveprefix': 'arXiv'}
        entries.append(_entry(kind, key, fields))
    return '\n'.join(entries)


def citation_text(text: str) -> str:
    """Write a methods paragraph and its references as Markdown.

    Examples
    --------
    >>> print(citation_text('By a network (Zeiler and Fergus 2014, arXiv:1311.2901).'))
    # Methods
    <BLANKLINE>
    By a network (Zeiler and Fergus 2014, arXiv:1311.2901).
    <BLANKLINE>
    # References
    <BLANKLINE>
    - Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, 2013, arXiv:1311.2901
    <BLANKLINE>
    """
    lines = []
    for identifier in cited(text):
        found = PUBLICATIONS.get(identifier)
        where = f'doi {identifier}' if identifier.startswith('10.') else f'arXiv:{identifier}'
        if found is None:
            lines.append(f'- {where}')
            continue
        names = ', '.join(
            'et al.' if name == 'others' else name.partition(',')[0]
            for name in found.author.split(' and ')
        )
        parts = [found.title, found.where, str(found.year), where]
        names = names.replace(', et al.', ' et al.')
        lines.append(f'- {names}: {", ".join(part for part in parts if part)}')
    return '\n'.join(['# Methods', '', text, '', '# References', '', *lines, ''])


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    """Write an entry; fields without content are left out."""
    inside = ''.join(f'  {name} = {{{value}}},\n' for name, value in fields.items() if value)
    return f'@{kind}{{{key},\n{inside}}}\n'
