"""Draw the pictures of the documentation.

``python benchmarks/picture.py slices OUTPUT_FOLDER rat.png``: image, enhanced saliency, mask and
tissues of six slices. ``python benchmarks/picture.py report SCAN.html report.png``: a report as a
browser shows it, by default from its top to the tissues; needs Chromium and Playwright.
"""

import argparse
import shutil
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.files.labels import class_labels
from secondglance.imaging.grids import slice_grid
from secondglance.reports.figures import grey, heat, mosaic, save_png, tissue_overlay

WIDTH, COLOURS = 1000, 256
"""Pixels and colours of a report's picture: it stays below 200 kB."""


def main():
    """Draw one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    slices = kinds.add_parser('slices')
    slices.add_argument('output', type=Path)
    slices.add_argument('--stem', default='sub-02/func/sub-02_task-rest_space-sbref')
    report = kinds.add_parser('report')
    report.add_argument('page', type=Path)
    report.add_argument('--layers', nargs='*', default=['mask'], help='of the viewer (mask)')
    report.add_argument('--fill', action='store_true', help='fill the layers')
    report.add_argument('--slice', type=int, help='by default that with most brain')
    report.add_argument('--of', metavar='SELECTOR', help='draw this element alone')
    report.add_argument('--dark', action='store_true')
    for one in (slices, report):
        one.add_argument('picture', type=Path)
    args = parser.parse_args()
    if args.kind == 'slices':
        draw_slices(args.output, args.stem, args.picture)
    else:
        draw_report(args)


def draw_slices(output, stem, picture):
    """Put image, enhanced saliency, placed mask and tissues of six slices below each other."""

    def stack(ending, order=1):
        image = nib.load(f'{output}/{stem}_{ending}.nii.gz')
        grid = slice_grid(image.shape, image.affine, 0.25)
        return grid.to_stack(image.get_fdata(dtype=np.float32), order=order)

    base = grey(stack('desc-mean_sbref'))
    mask = stack('desc-brain_mask', 0) > 0.5
    rows = (
        (base, None),
        (heat(base, stack('desc-enhanced_saliency')), None),
        (base, mask),
        (tissue_overlay(base, class_labels(stack('dseg', 0).round())), None),
    )
    chosen = np.linspace(2, len(base) - 2, 6).astype(int)
    pictures = [
        mosaic(slices[chosen], None if outline is None else outline[chosen], columns=6)
        for slices, outline in rows
    ]
    save_png(np.concatenate(pictures)[::2, ::2], picture)


def draw_report(args):
    """Open a report in a browser, set its viewer, and keep the picture."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    found = shutil.which('chromium') or shutil.which('chromium-browser')
    with sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=found, args=['--no-sandbox'])
        page = browser.new_page(
            viewport={'width': 1180, 'height': 900},
            color_scheme='dark' if args.dark else 'light',
        )
        page.goto(args.page.resolve().as_uri())
        page.wait_for_selector('#viewer[data-ready]')
        for box in page.locator('[data-layer]').all():
            box.set_checked(box.get_attribute('data-layer') in args.layers)
        if args.fill:
            page.locator('[value="fill"]').check()
        if args.slice is not None:
            page.locator('[name="slice"]').fill(str(args.slice))
        # The path of the scan is nothing for a document
        page.locator('.source').evaluate('element => element.remove()')
        page.evaluate('() => scrollTo(0, 0)')
        # Drawn in the next frame
        page.evaluate(
            '() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))'
        )
        bottom = page.locator('#tissues').bounding_box()['y']
        whole = {'x': 0, 'y': 0, 'width': 1180, 'height': bottom}
        clip = page.locator(args.of).bounding_box() if args.of else whole
        drawn = page.screenshot(full_page=True, clip=clip)
        browser.close()
    with Image.open(BytesIO(drawn)) as shown:
        height = round(shown.height * WIDTH / shown.width)
        small = shown.convert('RGB').resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.NONE).save(args.picture, optimize=True)


if __name__ == '__main__':
    main()
