"""The report in a real browser."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from secondglance.reports.cohort import write_cohort_page
from secondglance.reports.render import render_report
from secondglance.reports.scan_result import ScanResult

pytestmark = pytest.mark.slow

LOADED = '() => [...document.images].map(i => i.complete && i.naturalWidth > 0)'
SEEN = '() => document.querySelector("#viewer canvas").toDataURL()'
DRAWN = '() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))'
WIDER = '() => document.documentElement.scrollWidth - document.documentElement.clientWidth'
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[3] * top[i] + (1 - top[3]) * below[i]);
  const light = (colour) => {
    const [r, g, b] = colour.map((v) => {
      v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    if (element.closest('script, style, noscript')) continue;
    count += 1;
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(getComputedStyle(e));
    let back = [255, 255, 255];
    for (const style of chain) back = over(rgba(style.backgroundColor), back);
    const ink = over(rgba(chain.at(-1).color), back);
    const [high, low] = [light(ink), light(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${walk.currentNode.textContent.trim()}`);
  }
  return [count, poor];
}"""


@pytest.fixture
def full(data, rng):
    """Every layer that there is; slice 0 has no brain, slice 1 most of it."""
    regions = np.where(data.mask, rng.integers(0, 300, data.mask.shape), 0)
    probabilities = rng.dirichlet(np.ones(4), data.mask.shape).transpose(0, 3, 1, 2)
    return replace(
        data,
        regions=regions,
        region_names={7: 'Cortex'},
        probabilities=probabilities,
        placed=np.roll(data.mask, 1, axis=2),
        kernels=np.stack([rng.random(data.mask.shape), data.mask], axis=1),
        reference=data.labels,
        slice_scores=[
            {'slice': n, 'label': 'brain', 'dsc': 0.9, 'precision': 0.8} for n in range(5)
        ],
        compared={
            f'Volume 3 {when} its correction by 0.25 mm': image
            for when, image in (('before', data.image[:, ::-1]), ('after', data.image))
        },
        spacing=(0.3, 0.3),
        summary={'Species': 'rat'},
        warnings=['The mask is doubtful.'],
        placement=[
            {
                **dict.fromkeys(('shift_x_mm', 'shift_y_mm', 'found_x_mm', 'found_y_mm'), 0.1),
                'slice': n,
                'replaced': 0,
                'peak_ratio': 1.2,
                'probability': 0.25,
                'confidence': 0.5,
            }
            for n in range(5)
        ],
    )


@pytest.fixture
def report(full, tmp_path):
    """Write the report, and move the file alone to an empty folder."""
    render_report(full, tmp_path / 'out/sub-01.html', tmp_path / 'out/sub-01/figures')
    alone = tmp_path / 'mailed report'
    alone.mkdir()
    path = alone / 'sub-01.html'
    shutil.move(tmp_path / 'out/sub-01.html', path)
    shutil.rmtree(tmp_path / 'out')
    return path


def _ready(page):
    page.wait_for_selector('#viewer[data-ready]')
    page.evaluate(DRAWN)
    return page


def _slice(page):
    return int(page.get_attribute('#viewer', 'data-slice'))


def _shows(page, slice_):
    page.wait_for_selector(f'#viewer[data-slice="{slice_}"]')


def test_mailed_report_loads_every_picture_and_asks_for_nothing_else(open_page, report):
    page = _ready(open_page(report))
    page.evaluate('() => [...document.images].forEach(i => (i.loading = "eager"))')
    page.wait_for_function(f'() => ({LOADED})().every(Boolean)')
    loaded = page.evaluate(LOADED)
    assert len(loaded) >= 7
    assert all(loaded)
    elsewhere = [url for url in open_page.asked if not url.startswith('data:')]
    assert elsewhere == [report.as_uri()]


def test_slices_change_by_key_wheel_slider_and_button(open_page, report):
    page = _ready(open_page(report))
    canvas = page.locator('#viewer canvas')
    canvas.focus()
    for key, there in (
        ('Home', 0),
        ('ArrowUp', 1),
        ('ArrowRight', 2),
        ('ArrowDown', 1),
        ('End', 4),
        ('PageDown', 0),
        ('PageUp', 4),
    ):
        before = page.evaluate(SEEN)
        page.keyboard.press(key)
        _shows(page, there)
        assert page.evaluate(SEEN) != before
    assert 'Slice 4 of 0 to 4 · mask good with probability 0.25' in page.inner_text('.told')
    canvas.hover()
    page.mouse.wheel(0, 100)
    _shows(page, 3)
    page.mouse.wheel(0, -100)
    _shows(page, 4)
    page.locator('[name="slice"]').fill('2')
    _shows(page, 2)
    page.get_by_role('button', name='Next slice').click()
    _shows(page, 3)


def test_fingers_swipe_through_slices(open_page, report):
    page = _ready(open_page(report, viewport={'width': 390, 'height': 800}, has_touch=True))
    page.locator('#viewer canvas').scroll_into_view_if_needed()
    first = _slice(page)
    box = page.locator('#viewer canvas').bounding_box()
    touch = page.context.new_cdp_session(page)
    x, y = box['x'] + box['width'] / 4, box['y'] + box['height'] / 2
    for kind, moved in (('Start', 0), ('Move', 20), ('Move', 60), ('Move', 90)):
        points = [{'x': x + moved, 'y': y}]
        touch.send('Input.dispatchTouchEvent', {'type': f'touch{kind}', 'touchPoints': points})
    touch.send('Input.dispatchTouchEvent', {'type': 'touchEnd', 'touchPoints': []})
    page.wait_for_function(f'() => +document.querySelector("#viewer").dataset.slice > {first}')


def test_zoom_and_pan_and_reset(open_page, report):
    page = _ready(open_page(report))
    page.locator('#viewer canvas').focus()
    plain = page.evaluate(SEEN)
    page.keyboard.press('+')
    page.wait_for_selector('#viewer[data-zoom="1.400"]')
    zoomed = page.evaluate(SEEN)
    page.locator('#viewer canvas').hover()
    page.mouse.down()
    page.mouse.move(500, 500, steps=3)
    page.mouse.up()
    page.mouse.move(5, 5)
    page.evaluate(DRAWN)
    assert len({plain, zoomed, page.evaluate(SEEN)}) == 3
    page.get_by_role('button', name='Reset view').click()
    page.wait_for_selector('#viewer[data-zoom="1.000"]')
    page.evaluate(DRAWN)
    assert page.evaluate(SEEN) == plain


def test_each_layer_shows_as_contour_and_as_fill(open_page, report):
    page = _ready(open_page(report))
    boxes = page.locator('[data-layer]')
    keys = boxes.evaluate_all('boxes => boxes.map(b => b.dataset.layer)')
    assert set(keys) == {
        *('mask', 'second', 'first', 'changes', 'regions', 'saliency', 'enhanced'),
        *('placed', 'reference'),
        *(f'probability{tissue}' for tissue in ('WM', 'GM', 'CSF')),
    }
    page.locator('[data-layer="mask"]').uncheck()
    page.wait_for_selector('#viewer[data-layers=""]')
    bare = page.evaluate(SEEN)
    for key in keys:
        page.locator(f'[data-layer="{key}"]').check()
        page.wait_for_selector(f'#viewer[data-layers="{key}"]')
        contour = page.evaluate(SEEN)
        page.locator('[value="fill"]').check()
        page.evaluate(DRAWN)
        assert len({bare, contour, page.evaluate(SEEN)}) == 3, key
        page.locator('[value="contour"]').check()
        page.locator(f'[data-layer="{key}"]').uncheck()
        page.wait_for_selector('#viewer[data-layers=""]')
    page.evaluate(DRAWN)
    assert page.evaluate(SEEN) == bare


def test_number_keys_switch_layers(open_page, report):
    page = _ready(open_page(report))
    page.locator('#viewer canvas').focus()
    page.keyboard.press('1')
    page.wait_for_selector('#viewer[data-layers=""]')
    page.keyboard.press('2')
    page.wait_for_selector('#viewer[data-layers="second"]')


def test_window_and_level_change_the_grey(open_page, report):
    page = _ready(open_page(report))
    plain = page.evaluate(SEEN)
    page.locator('[name="level"]').fill('60')
    page.evaluate(DRAWN)
    level = page.evaluate(SEEN)
    page.locator('[name="window"]').fill('100')
    page.evaluate(DRAWN)
    assert len({plain, level, page.evaluate(SEEN)}) == 3


def test_flicker_takes_turns_between_volume_and_mean(open_page, report):
    page = _ready(open_page(report))
    page.get_by_role('button', name='Flicker').click()
    # What stood there before the click has no name of a volume, and does not come back
    page.evaluate(DRAWN)
    first = page.evaluate(SEEN)
    page.wait_for_function(f'first => ({SEEN})() !== first', arg=first)
    page.wait_for_function(f'first => ({SEEN})() === first', arg=first)


def test_steps_follow_the_viewer_and_their_own_slider(open_page, report):
    page = _ready(open_page(report))
    shown = page.locator('[data-step]:visible')
    assert shown.get_attribute('data-step') == '1'
    assert shown.locator('svg.chart').count() == 4
    page.locator('#viewer canvas').focus()
    page.keyboard.press('End')
    page.wait_for_selector('[data-step="4"]:visible')
    assert shown.count() == 1
    page.locator('[name="step"]').fill('1')
    page.wait_for_selector('[data-step="2"]:visible')
    assert shown.count() == 1
    assert _slice(page) == 4


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [1280, 390])
def test_text_can_be_read_and_nothing_runs_off_the_side(open_page, report, width, scheme):
    size = {'width': width, 'height': 900}
    page = _ready(open_page(report, viewport=size, color_scheme=scheme))
    page.evaluate('() => document.querySelectorAll("details").forEach(d => d.open = true)')
    count, poor = page.evaluate(CONTRAST)
    assert count > 30
    assert poor == []
    assert page.evaluate(WIDER) <= 0
    buttons = page.get_by_role('button').all() + page.get_by_role('slider').all()
    assert len(buttons) > 8
    assert page.evaluate("""() => [...document.querySelectorAll('input, select, button')].every(
        e => e.labels?.length || e.ariaLabel || e.textContent.trim())""")


def test_a_rating_is_kept_and_exported(open_page, report):
    page = _ready(open_page(report))
    page.get_by_label('doubtful').check()
    page.get_by_label('Note').fill('olfactory bulb\tcut "here" <b>')
    page.reload()
    _ready(page)
    assert page.get_by_label('doubtful').is_checked()
    with page.expect_download() as download:
        page.get_by_role('button', name='Export as TSV').click()
    assert download.value.suggested_filename == 'sub-01_rating.tsv'
    head, row = download.value.path().read_text().splitlines()
    assert head.split('\t') == ['scan', 'rating', 'note', 'rated']
    assert row.split('\t')[:3] == ['sub-01', 'doubtful', 'olfactory bulb cut "here" <b>']


@pytest.fixture
def cohort(tmp_path, report):
    """Write a study of 500 scans beside the report of the first."""
    folder = tmp_path / 'a study'
    (folder / 'sub-001/figures').mkdir(parents=True)
    shutil.copy(report, folder / 'sub-001.html')
    Image.new('RGB', (96, 72)).save(folder / 'sub-001/figures/sub-001_thumbnail.png')
    shares = {'WM_mm3': 500.0, 'GM_mm3': 1200.0, 'CSF_mm3': 200.0}
    outcomes = [
        ScanResult(
            f'sub-{n:03}',
            'done',
            flags=('Odd <b>.',) if n == 7 else (),
            figures={
                'species': 'rat',
                'confidence': 0.99,
                'brain_mm3': 1900.0 - n,
                'motion_mean_mm': 0.02 + n % 7 / 500,
                'brain_dice': 0.96 + n % 11 / 1000,
                **shares,
            },
        )
        for n in range(1, 500)
    ]
    return write_cohort_page([*outcomes, ScanResult('sub-x', 'failed', reason='Bad.')], folder)


def test_cohort_is_sorted_and_filtered_and_rated(open_page, cohort):
    page = open_page(cohort)
    page.wait_for_selector('#scans[data-ready]')
    shown = page.locator('#scans tbody tr:visible')
    names = '() => [...document.querySelectorAll("#scans tbody tr")].map(r => r.dataset.scan)'
    assert page.evaluate(names)[:2] == ['sub-x', 'sub-007']
    page.get_by_role('button', name='brain, mm³').click()
    order = page.evaluate(names)
    assert order[0] == 'sub-499'
    assert order[-2:] == ['sub-001', 'sub-x']
    page.get_by_role('button', name='brain, mm³').click()
    assert page.evaluate(names)[0] == 'sub-001'
    page.wait_for_function('() => document.images[0].naturalWidth === 96')
    page.get_by_label('Filter').fill('odd')
    assert shown.count() == 1
    assert page.inner_text('#count') == '1 of 500 shown'
    page.get_by_label('Filter').fill('')
    page.get_by_label('Verdict').select_option('failed')
    assert shown.count() == 1
    page.locator('.strips circle[data-dot="sub-250"]').first.dispatch_event('click')
    assert shown.count() == 500
    assert page.locator('tr.chosen').get_attribute('data-scan') == 'sub-250'
    assert page.locator('tr.chosen').evaluate(
        'r => r.getBoundingClientRect().top > 0 && r.getBoundingClientRect().top < innerHeight'
    )
    page.get_by_label('Rating of sub-x').select_option('fail')
    page.reload()
    with page.expect_download() as download:
        page.get_by_role('button', name='Export').click()
    rows = [row.split('\t') for row in download.value.path().read_text().splitlines()]
    assert len(rows) == 501
    assert rows[1][:2] == ['sub-x', 'fail']
    page.get_by_role('link', name='sub-001', exact=True).click()
    _ready(page)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [1280, 390])
def test_cohort_can_be_read(open_page, cohort, width, scheme):
    page = open_page(cohort, viewport={'width': width, 'height': 900}, color_scheme=scheme)
    count, poor = page.evaluate(CONTRAST)
    assert count > 100
    assert poor == []
    assert page.evaluate(WIDER) <= 0


def test_without_scripts_the_mosaics_stay(open_page, report):
    page = open_page(report, java_script_enabled=False)
    assert not page.locator('#viewer').is_visible()
    assert page.get_by_text('needs JavaScript').is_visible()
    assert page.locator('figure img').count() >= 7
    assert page.locator('figure img').first.is_visible()


def test_names_with_scripts_are_shown_and_never_run(open_page, full, tmp_path):
    evil = '</script><script>document.title = "run"</script><img src=x onerror="alert(1)">ü"\'&'
    path = tmp_path / 'a "quoted" [name] ü.html'
    render_report(
        replace(
            full,
            title=evil,
            source=evil,
            image_name=evil,
            region_names=dict.fromkeys(range(300), evil),
            compared={evil: full.image},
        ),
        path,
        tmp_path / 'figures',
    )
    page = _ready(open_page(path))
    page.locator('[data-layer="regions"]').check()
    assert page.inner_text('h1') == evil
    assert evil in page.inner_text('.legend')
    assert evil in page.inner_text('[name="base"]')
    assert page.title().startswith(evil)
    assert page.locator('img[src="x"]').count() == 0
