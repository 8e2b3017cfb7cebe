"""What ships with the package: a reduced atlas, donors and the example rat."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def atlas_path() -> Path:
    """Folder of the reduced atlas: tissue maps named ``rat_{wm,gm,csf,skull}.nii.gz``."""
    return _HERE / 'atlas'


def regions_path(species: str) -> Path:
    """Folder of the regions of a species: ``regions.nii.gz``, ``regions.tsv``, ``frame.json``."""
    return _HERE / 'regions' / species


def mouse_atlas_path() -> Path:
    """Folder of the mouse's tissue maps, ``mouse_{wm,gm,csf}.nii.gz``."""
    return atlas_path() / 'mouse'


def donor_paths() -> list[Path]:
    """Folders of the donors, each with ``image.nii.gz`` and ``brain_mask.nii.gz``."""
    return sorted(p for p in (_HERE / 'donors').iterdir() if p.is_dir())


def donor_saliency_path() -> Path:
    """Enhanced saliency of the donors under the weights that ship, an array a donor (.npz)."""
    return _HERE / 'donor_saliency.npz'


def example_rat() -> tuple[Path, Path]:
    """Image and brain mask of a real rat that is none of the donors."""
    return _HERE / 'example' / 'rat_epi.nii.gz', _HERE / 'example' / 'rat_brain_mask.nii.gz'
