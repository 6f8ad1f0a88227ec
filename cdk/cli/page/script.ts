/** The script of the page: filters and sorts its names. The page contains everything without it, too. */
export const SCRIPT = `'use strict';
const tables = [...document.querySelectorAll('table[data-sorts]')];
const collator = new Intl.Collator('en', { numeric: true });
const key = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent;

function sort(table, column, isDescending) {
  const [body] = table.tBodies;
  const rows = [...body.rows].map((row) => [key(row, column), row]);
  // Empty cells stay at the end.
  const order = ([one], [other]) =>
    Number(one === '') - Number(other === '') || (isDescending ? -1 : 1) * collator.compare(one, other);
  body.append(...rows.sort(order).map(([, row]) => row));
}

for (const table of tables) {
  const heads = [...table.tHead.rows[0].cells];
  for (const [column, head] of heads.entries()) {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    button.addEventListener('click', () => {
      const isDescending = head.getAttribute('aria-sort') === 'ascending';
      sort(table, column, isDescending);
      for (const other of heads) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', isDescending ? 'descending' : 'ascending');
    });
    head.append(button);
  }
  heads[0].setAttribute('aria-sort', 'ascending');
}

const field = document.getElementById('filter');
const matches = document.getElementById('matches');
const rows = tables.flatMap((table) => [...table.tBodies[0].rows]).map((row) => [row, row.textContent.toLowerCase()]);

function filter() {
  const words = field.value.toLowerCase().split(/\\s+/);
  let count = 0;
  for (const [row, text] of rows) {
    row.hidden = !words.every((word) => text.includes(word));
    if (!row.hidden) count += 1;
  }
  for (const table of tables) table.hidden = [...table.tBodies[0].rows].every((row) => row.hidden);
  matches.textContent = field.value.trim() === '' ? '' : \`\${count.toLocaleString('en')} of \${rows.length.toLocaleString('en')} match\`;
}

if (tables.length > 0) {
  field.addEventListener('input', filter);
  document.getElementById('search').hidden = false;
  // A browser may have kept the text of the field.
  filter();
}
document.documentElement.classList.add('sorts');
`;
