"""What the image installs, and whether it is what the lock says.

``requirements.py setup.cfg EXTRA …`` prints the package's requirements with those of the extras.
``requirements.py --check constraints.txt`` fails if anything installed differs from the lock.
"""

import configparser
import re
import sys
from importlib.metadata import distributions


def requirements(setup: str, extras: list[str]) -> list[str]:
    """List the requirements of the package and of some of its extras."""
    parser = configparser.ConfigParser()
    parser.read(setup)
    lines = parser['options']['install_requires'].splitlines()
    for extra in extras:
        lines += parser['options.extras_require'][extra].splitlines()
    return [line for line in lines if line]


_CUDA = ('nvidia-', 'cuda-', 'triton')


def _plain(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def differences(lock: str) -> list[str]:
    """Say what is installed in another version than the lock's; a local build (+cpu) is none.

    What is installed and not in the lock counts too: nothing in the image is unpinned.
    """
    with open(lock) as stream:
        lines = [line.split('#')[0].strip() for line in stream]
    pinned = {_plain(name): version for name, _, version in (x.partition('==') for x in lines)}
    wrong = []
    for distribution in distributions():
        name, version = _plain(distribution.metadata['Name']), distribution.version
        # A GPU's libraries are pinned by the build of torch that brings them
        if name in ('secondglance', 'pip', 'setuptools') or name.startswith(_CUDA):
            continue
        if name not in pinned:
            wrong.append(f'{name}=={version} is not in the lock')
        elif version.partition('+')[0] != pinned[name]:
            wrong.append(f'{name} is {version}, the lock says {pinned[name]}')
    return sorted(wrong)


if __name__ == '__main__':
    if sys.argv[1] == '--check':
        if found := differences(sys.argv[2]):
            sys.exit('\n'.join(['The image is not what constraints.txt says:', *found]))
    else:
        print('\n'.join(requirements(sys.argv[1], sys.argv[2:])))
