"""A report's data, and a real browser to open pages in."""

import os
import shutil

import numpy as np
import pytest

from secondglance.reports.data import ReportData

FLAGS = (
    *('--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'),
    *('--disable-background-networking', '--disable-component-update', '--disable-sync'),
)


@pytest.fixture
def data(rng):
    shape = (5, 12, 10)
    mask = np.zeros(shape, bool)
    mask[1:, 3:9, 2:8] = True
    return ReportData(
        title='sub-01',
        source='/data/sub-01_dwi.nii.gz',
        image=rng.random(shape),
        saliency=rng.normal(size=shape),
        enhanced=rng.random(shape),
        mask=mask,
        first_labels=rng.integers(0, 4, shape),
        labels=np.where(mask, rng.integers(0, 4, shape), 0),
    )


@pytest.fixture(scope='module')
def chromium():
    """Start the system's Chromium, headless; REQUIRE_CHROMIUM makes its absence an error."""
    found = shutil.which('chromium') or shutil.which('chromium-browser')
    if found is None:
        if os.environ.get('REQUIRE_CHROMIUM'):
            pytest.fail('REQUIRE_CHROMIUM is set, and no chromium is on the PATH')
        pytest.skip('no chromium on the PATH: install it to test reports in a browser')
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Return a function that opens a file; whatever the page says on the console fails a test."""
    contexts, said, asked = [], [], []

    def _open(path, **context):
        contexts.append(chromium.new_context(**{'viewport': SIZE, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on('console', lambda message: said.append(message.text))
        page.on('pageerror', lambda error: said.append(str(error)))
        page.on('request', lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    _open.asked = asked
    yield _open
    for context in contexts:
        context.close()
    assert said == []


SIZE = {'width': 1280, 'height': 900}
