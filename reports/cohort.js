/* The table of a study: sorted by any column, filtered by text and verdict, rated. */
'use strict';
(() => {
  const table = document.querySelector('#scans');
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const words = rows.map((row) => row.textContent.toLowerCase());
  const text = document.querySelector('[name="text"]');
  const verdict = document.querySelector('[name="verdict"]');
  const count = document.querySelector('#count');

  function filter() {
    const asked = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      const fits = (!verdict.value || verdict.value === row.dataset.verdict) &&
        asked.every((word) => words[index].includes(word));
      row.hidden = !fits;
      shown += fits;
    });
    count.textContent = `${shown} of ${rows.length} shown`;
  }

  function sort(head) {
    const column = head.cellIndex;
    const up = head.getAttribute('aria-sort') !== 'ascending';
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const value = (row) => {
      const cell = row.cells[column];
      const choice = cell.querySelector('select');
      return choice ? choice.value : cell.dataset.value ?? cell.textContent.trim();
    };
    const sorted = rows.map((row) => [value(row), row]);
    const direction = up ? 1 : -1;
    sorted.sort(([a], [b]) => {
      if (a === '' || b === '') return (a === '') - (b === ''); // What is missing comes last
      return direction * a.localeCompare(b, undefined, { numeric: true });
    });
    if (head.dataset.kind === 'number') {
      sorted.sort(([a], [b]) => {
        if (a === '' || b === '') return (a === '') - (b === '');
        return direction * (a - b);
      });
    }
    body.append(...sorted.map(([, row]) => row));
  }

  table.querySelectorAll('th button').forEach((button) =>
    button.addEventListener('click', () => sort(button.closest('th'))),
  );
  document.querySelectorAll('.strips circle').forEach((dot) =>
    dot.addEventListener('click', () => {
      const row = rows.find((one) => one.dataset.scan === dot.dataset.dot);
      if (!row) return;
      text.value = verdict.value = '';
      filter();
      rows.forEach((one) => one.classList.toggle('chosen', one === row));
      row.scrollIntoView({ block: 'center' });
    }),
  );
  rows.forEach((row) => {
    const choice = row.querySelector('select');
    const { rating, note } = ratings.read(row.dataset.scan);
    choice.value = rating;
    choice.title = note;
    choice.addEventListener('change', () =>
      ratings.write(row.dataset.scan, { rating: choice.value }),
    );
  });
  document.querySelector('#export').addEventListener('click', () => {
    ratings.download(rows.map((row) => row.dataset.scan), 'ratings.tsv');
  });
  text.addEventListener('input', filter);
  verdict.addEventListener('change', filter);
  document.querySelector('#tools').hidden = false;
  filter();
  table.dataset.ready = 'true';
})();
