/* Ratings of scans: kept in this browser, by folder and scan, and exported as a table. */
'use strict';
const ratings = (() => {
  const folder = location.pathname.replace(/[^/]*$/, '');
  const key = (scan) => `secondglance rating ${folder} ${scan}`;
  const memory = new Map(); // Where the browser keeps nothing, as long as the page is open

  function read(scan) {
    let text = memory.get(scan);
    try {
      text = localStorage.getItem(key(scan)) ?? text;
    } catch { /* Storage is turned off */ }
    try {
      return { rating: '', note: '', rated: '', ...JSON.parse(text ?? '{}') };
    } catch {
      return { rating: '', note: '', rated: '' };
    }
  }

  function write(scan, change) {
    const text = JSON.stringify({ ...read(scan), ...change, rated: new Date().toISOString() });
    memory.set(scan, text);
    try {
      localStorage.setItem(key(scan), text);
    } catch { /* Storage is turned off */ }
  }

  const cell = (text) => String(text).replace(/\s+/g, ' ').trim() || 'n/a';

  function table(scans) {
    const rows = scans.map((scan) => {
      const { rating, note, rated } = read(scan);
      return [scan, rating, note, rated].map(cell).join('\t');
    });
    return ['scan\trating\tnote\trated', ...rows, ''].join('\n');
  }

  function download(scans, name) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(
      new Blob([table(scans)], { type: 'text/tab-separated-values' }),
    );
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  /* One form for a scan: three choices and a note. */
  function form(root, scan) {
    const now = read(scan);
    const note = root.querySelector('[name="note"]');
    note.value = now.note;
    note.addEventListener('input', () => write(scan, { note: note.value }));
    root.querySelectorAll('[name="rating"]').forEach((radio) => {
      radio.checked = radio.value === now.rating;
      radio.addEventListener('change', () => write(scan, { rating: radio.value }));
    });
    const name = `${scan.replace(/[^\w.-]+/g, '_')}_rating.tsv`;
    root.querySelector('button').addEventListener('click', () => download([scan], name));
    root.hidden = false;
  }

  return { read, write, table, download, form };
})();
