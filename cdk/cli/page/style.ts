/** The style of the page: light and dark, narrow and wide, and on paper. */
export const STYLE = `:root {
  color-scheme: light dark;
  --page: #ffffff;
  --text: #1b1f24;
  --quiet: #59626d;
  --line: #dfe3e8;
  --shade: #f5f6f8;
  --link: #1a56b0;
  --bad: #b3261e;
  --slow: #8a4b00;
  --new: #1a56b0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b;
    --text: #e4e7ea;
    --quiet: #a1abb6;
    --line: #2d333b;
    --shade: #1c2127;
    --link: #8db8ff;
    --bad: #ff9d94;
    --slow: #efb45f;
    --new: #8db8ff;
  }
}
* {
  box-sizing: border-box;
}
[hidden] {
  display: none !important;
}
body {
  max-width: 90rem;
  margin: 0 auto;
  padding: 2.5rem 2rem 4rem;
  background: var(--page);
  color: var(--text);
  font: 0.9375rem/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere;
}
h1,
h2,
p,
ul {
  margin: 0;
}
h1 {
  font-size: 2rem;
  font-weight: 650;
  line-height: 1.2;
}
h2 {
  margin-top: 3rem;
  font-size: 1.25rem;
  font-weight: 650;
}
h2 small {
  padding-left: 0.35em;
  color: var(--quiet);
  font-size: inherit;
  font-weight: 400;
}
a {
  color: var(--link);
}
a:not(:hover) {
  text-decoration-color: color-mix(in srgb, currentColor 40%, transparent);
}
a,
button {
  text-underline-offset: 0.2em;
}
:focus-visible {
  outline: 2px solid var(--link);
  outline-offset: 2px;
}
code {
  font: 0.8125rem/1.5 ui-monospace, 'SF Mono', 'Cascadia Mono', 'DejaVu Sans Mono', monospace;
}
.verdict {
  margin: 1rem 0 0.25rem;
  font-size: 1.25rem;
}
.quiet,
caption,
footer {
  color: var(--quiet);
}
.bad {
  color: var(--bad);
}
.slow {
  color: var(--slow);
}
.new {
  color: var(--new);
}
section > ul {
  padding-left: 1.25rem;
}
section > ul,
section > p {
  max-width: 60rem;
  margin-top: 0.5rem;
}
li + li {
  margin-top: 0.5rem;
}
.command {
  display: block;
  margin-top: 0.25rem;
}
footer {
  margin-top: 3rem;
  font-size: 0.8125rem;
}

table {
  width: 100%;
  margin-top: 0.5rem;
  border-collapse: collapse;
  table-layout: fixed;
}
caption {
  padding-bottom: 0.75rem;
  text-align: start;
}
th,
td {
  padding: 0.5rem 1rem 0.5rem 0;
  border-bottom: 1px solid var(--line);
  text-align: start;
  vertical-align: top;
  font-weight: 400;
}
thead th {
  color: var(--quiet);
  font-size: 0.8125rem;
}
th[scope='row'] {
  font-weight: 500;
}
td .quiet,
th .quiet {
  display: block;
  font-size: 0.8125rem;
  font-weight: 400;
}
.group {
  padding-top: 1.5rem;
}
.group b {
  font-size: 1rem;
  font-weight: 650;
}
thead button {
  padding: 0;
  border: 0;
  background: none;
  color: inherit;
  font: inherit;
  cursor: pointer;
}
thead button:hover {
  text-decoration: underline;
}
[aria-sort] button {
  color: var(--text);
  font-weight: 600;
}
[aria-sort='ascending'] button::after {
  content: ' ↑' / '';
}
[aria-sort='descending'] button::after {
  content: ' ↓' / '';
}
#search {
  display: flex;
  flex-wrap: wrap;
  gap: 0.5rem 1rem;
  align-items: baseline;
  margin-top: 0.75rem;
}
#filter {
  width: min(24rem, 100%);
  padding: 0.4rem 0.6rem;
  border: 1px solid var(--quiet);
  border-radius: 4px;
  background: var(--page);
  color: inherit;
  font: inherit;
}
thead th:first-child {
  width: 21%;
}
thead th:nth-child(2) {
  width: 15%;
}
.changes thead th:nth-child(3) {
  width: 34.5%;
}
.names thead th:nth-child(4) {
  width: 15.5%;
}
.names thead th:nth-child(5) {
  width: 14%;
}
.unnamed thead th:nth-child(2) {
  width: auto;
}

@media screen and (min-width: 52rem) {
  .names thead th {
    position: sticky;
    top: 0;
    background: var(--page);
  }
  tbody tr:hover > :not(.group) {
    background: var(--shade);
  }
}

/* Each row becomes a block, and each cell has its heading beside it. */
@media screen and (max-width: 51.99rem) {
  body {
    padding: 1.5rem 1rem 3rem;
  }
  table,
  caption,
  thead,
  tbody,
  tr,
  th,
  td {
    display: block;
    width: auto !important;
  }
  thead {
    position: absolute;
    clip-path: inset(50%);
  }
  .sorts [data-sorts] thead {
    position: static;
    clip-path: none;
  }
  thead button {
    padding-block: 0.25rem;
  }
  thead tr {
    display: flex;
    flex-wrap: wrap;
    gap: 0 1rem;
    align-items: baseline;
    padding-bottom: 0.5rem;
    border-bottom: 1px solid var(--line);
  }
  thead tr::before {
    content: 'Sort by' / '';
    color: var(--quiet);
    font-size: 0.8125rem;
  }
  th,
  td {
    padding: 0;
    border: 0;
  }
  tbody tr {
    padding: 0.625rem 0;
    border-bottom: 1px solid var(--line);
    /* With thousands of rows, a phone lays out only those that it shows. */
    content-visibility: auto;
    contain-intrinsic-block-size: auto 10rem;
  }
  th[scope='row'] {
    font-weight: 600;
  }
  td {
    position: relative;
    padding-left: 6.5rem;
  }
  td:empty {
    display: none;
  }
  td::before {
    position: absolute;
    left: 0;
    color: var(--quiet);
    font-size: 0.8125rem;
    line-height: 1.75;
  }
  :is(.trouble, .changes, .names) td:nth-child(2)::before {
    content: 'Service' / '';
  }
  .trouble td:nth-child(3)::before,
  .unnamed td:nth-child(2)::before {
    content: 'Reason' / '';
  }
  :is(.changes, .names) td:nth-child(3)::before {
    content: 'Load balancer' / '';
  }
  .changes td:nth-child(4)::before {
    content: 'Change' / '';
  }
  .names td:nth-child(4)::before {
    content: 'Age' / '';
  }
  .names td:nth-child(5)::before {
    content: 'Status' / '';
  }
}

@media print {
  :root {
    color-scheme: light;
    font-size: 11px;
    --page: #ffffff;
    --text: #000000;
    --quiet: #444444;
    --line: #bbbbbb;
    --link: #000000;
    --bad: #000000;
    --slow: #000000;
    --new: #000000;
  }
  body {
    max-width: none;
    padding: 0;
  }
  #search {
    display: none;
  }
  tr,
  li {
    break-inside: avoid;
  }
  h2 {
    break-after: avoid;
  }
}
`;
