/** The page about an environment: one HTML file that loads nothing. */
import { createHash } from 'node:crypto';
import type { Age, Ages } from '../ages.js';
import type { Discovery } from '../discovery.js';
import { loadBalancer } from '../list.js';
import { counted, iso, sentence, utc } from '../output.js';
import {
  type Answer,
  STATUSES,
  type Service,
  isChange,
  isIgnored,
  isKept,
  isRegistered,
  isTrouble,
  longNegativeTtls,
  problems,
  services,
} from '../report.js';
import { OBSERVES, PENDING, pendingTitle, summary } from '../status.js';
import { nextStep } from '../story.js';
import { Html, html } from './html.js';
import { SCRIPT } from './script.js';
import { STYLE } from './style.js';

export interface PageContent {
  answer: Answer;
  ages: Ages;
  /** When the answer was made. */
  made: Date;
  /** For the commands that the page suggests. */
  discovery: Discovery;
}

/** The page as text. Nothing in it depends on the machine or on the time that makes it. */
export function page(content: PageContent): string {
  const { answer, ages, made } = content;
  const all = services(answer);
  const notes = [...answer.notes, ...ages.notes].map((text) => html`<li>${sentence(text)}</li>`);
  const slow = longNegativeTtls(answer).map(({ text, command }) => html`<li>${sentence(text)} ${code(command)}</li>`);
  const wrong = problems(answer).map((text) => html`<li>${sentence(text)}</li>`);
  const sections = [
    attention(all.filter(isTrouble), content),
    section(
      'problems',
      'Problems',
      wrong.length,
      html`<ul>
        ${wrong}
      </ul>`,
    ),
    section(
      'notes',
      'Notes',
      slow.length + notes.length,
      html`<ul>
        ${slow}${notes}
      </ul>`,
    ),
    pending(all.filter(isChange), content),
    names(
      all.filter((one) => one.name !== null),
      content,
    ),
    unnamed(all.filter(isIgnored)),
  ];
  const policy = [
    "default-src 'none'",
    `style-src ${hash(STYLE)}`,
    `script-src ${hash(SCRIPT)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  const document = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${answer.environment}: ECS service discovery</title>
        ${inline('style', STYLE)}
      </head>
      <body>
        <header>
          <p class="quiet">ECS service discovery</p>
          <h1>${answer.environment}</h1>
          ${verdict(answer, all)}
          <p>${summaryLine(answer, all)}</p>
          ${answer.observed ? html`<p>${OBSERVES}</p>` : undefined}
          <p class="quiet">
            Made at <time datetime="${iso(made)}">${utc(made)}</time> with a dry run, which changes nothing.
          </p>
        </header>
        <main>${sections}</main>
        <footer>
          <p>This page does not update itself. To make it again:</p>
          ${code(content.discovery.suggest('report', '--html FILE'))}
        </footer>
        ${inline('script', SCRIPT)}
      </body>
    </html>`;
  return `${document.text}\n`;
}

/** A style or a script of this project, without a space that its hash would not contain. */
const inline = (element: 'style' | 'script', text: string) => Html.of(`<${element}>${text}</${element}>`);

const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

const code = (command: string) => html`<code class="command">${command}</code>`;

/** A name that a browser may break after its dots and slashes. */
const breakable = (text: string) =>
  text.split(/(?<=[./])(?=.)/).map((part, at) => (at === 0 ? part : html`<wbr />${part}`));

const quiet = (text: string) => html`<span class="quiet">${text}</span>`;

const nameOf = (name: string | null) => (name === null ? quiet('no name') : breakable(name));

function section(id: string, title: string, count: number, ...content: (Html | undefined)[]): Html | undefined {
  if (count === 0) return undefined;
  const number = html`<small>${count.toLocaleString('en-US')}</small>`;
  return html`<section aria-labelledby="${id}">
    <h2 id="${id}">${title} ${number}</h2>
    ${content}
  </section>`;
}

function verdict(answer: Answer, all: Service[]): Html {
  const [troubled, wrong] = [all.filter(isTrouble).length, problems(answer).length];
  if (troubled + wrong === 0) return html`<p class="verdict">Nothing needs attention.</p>`;
  const parts = [
    ...(troubled > 0 ? [counted(troubled, 'service')] : []),
    ...(wrong > 0 ? [counted(wrong, 'problem')] : []),
  ];
  const verb = troubled + wrong === 1 ? 'needs' : 'need';
  return html`<p class="verdict bad">${parts.join(' and ')} ${verb} attention.</p>`;
}

/** The summary of `status`. Each part leads to its section. */
function summaryLine(answer: Answer, all: Service[]): Html[] {
  const { registered, trouble, pending, kept, ignored } = summary(answer, all);
  const parts = [
    ['names', registered],
    ['attention', trouble],
    ['changes', pending],
    ['names', kept],
    ['unnamed', ignored],
  ] as const;
  const links = parts.flatMap(([id, text]) => (text === undefined ? [] : [html`<a href="#${id}">${text}</a>`]));
  return links.map((link, at) => (at === 0 ? link : html`; ${link}`));
}

/** The services that need attention. Those with the same status have the same next step. */
function attention(all: Service[], { answer, discovery }: PageContent): Html | undefined {
  const statuses = STATUSES.filter((status) => all.some((one) => one.status === status));
  const groups = statuses.map((status) => {
    const same = all.filter((one) => one.status === status);
    const rows = same.map(({ name, service, reason }) => {
      const text = reason === null ? '' : sentence(reason);
      return html`<tr>
        <th scope="row">${nameOf(name)}</th>
        <td>${breakable(service)}</td>
        <td>${text}</td>
      </tr>`;
    });
    const [first] = same;
    const next = first === undefined ? undefined : nextStep(first, answer, discovery);
    const command = next?.command === undefined ? undefined : code(next.command);
    return html`<tbody>
      <tr>
        <th scope="rowgroup" colspan="3" class="group">
          <b class="${color(status)}">${status}</b> ${counted(same.length, 'service')}
          ${next === undefined ? undefined : quiet(next.text)}${command}
        </th>
      </tr>
      ${rows}
    </tbody>`;
  });
  return section(
    'attention',
    'Needs attention',
    all.length,
    html`<table class="trouble">
      <caption>
        The worst comes first.
      </caption>
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col">Service</th>
          <th scope="col">Reason</th>
        </tr>
      </thead>
      ${groups}
    </table>`,
  );
}

/** The changes that the next event or full pass makes. */
function pending(all: Service[], { answer, discovery }: PageContent): Html | undefined {
  const rows = all.map((one) => {
    const reason = one.reason === null ? undefined : quiet(sentence(one.reason));
    return html`<tr>
      <th scope="row">${nameOf(one.name)}</th>
      <td>${breakable(one.service)}</td>
      <td>${target(one)}</td>
      <td>${state(one, answer)}${reason}</td>
    </tr>`;
  });
  const next = html`<p>${PENDING}</p>
    <p>${code(discovery.suggest('apply'))}</p>`;
  return section(
    'changes',
    pendingTitle(answer.observed),
    all.length,
    answer.observed ? undefined : next,
    html`<table class="changes">
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col">Service</th>
          <th scope="col">Load balancer</th>
          <th scope="col">Change</th>
        </tr>
      </thead>
      <tbody>
        ${rows}
      </tbody>
    </table>`,
  );
}

/** All names that services have or should have, by name. */
function names(all: Service[], { answer, ages, made }: PageContent): Html {
  const hasZones = new Set(all.map(({ zone }) => zone)).size > 1;
  const rows = sorted(all, ({ name }) => name ?? '').map((one) => {
    const zone = hasZones && one.zone !== null ? quiet(`zone ${one.zone}`) : undefined;
    const reason = one.reason !== null && (isRegistered(one) || isKept(one)) ? quiet(sentence(one.reason)) : undefined;
    const status = STATUSES.indexOf(one.status);
    return html`<tr>
      <th scope="row">${nameOf(one.name)}${zone}</th>
      <td>${breakable(one.service)}</td>
      <td>${target(one)}</td>
      ${duration(ages.of(one), made)}
      <td data-key="${status}">${state(one, answer)}${reason}</td>
    </tr>`;
  });
  const searched =
    ages.begin === undefined
      ? 'Some ages are missing: the notes have the reason.'
      : `The log of the handler was searched back to ${utc(ages.begin).replace(/ UTC$/, '')}.`;
  const table = html`<table class="names" data-sorts>
    <caption>
      The age is the time for which a service has had its name. ${searched} All times are in UTC.
    </caption>
    <thead>
      <tr>
        <th scope="col">Name</th>
        <th scope="col">Service</th>
        <th scope="col">Load balancer</th>
        <th scope="col">Age</th>
        <th scope="col">Status</th>
      </tr>
    </thead>
    <tbody>
      ${rows}
    </tbody>
  </table>`;
  return html`<section aria-labelledby="names">
    <h2 id="names">Names <small>${all.length.toLocaleString('en-US')}</small></h2>
    <p id="search" hidden>
      <label for="filter">Filter</label> <input type="search" id="filter" autocomplete="off" spellcheck="false" />
      <span id="matches" class="quiet" role="status"></span>
    </p>
    ${all.length === 0 ? html`<p>No service has or should have a name.</p>` : table}
  </section>`;
}

/** The services that have no name on purpose, each with the reason. */
function unnamed(all: Service[]): Html | undefined {
  const rows = sorted(all, ({ service }) => service).map(({ service, reason }) => {
    return html`<tr>
      <th scope="row">${breakable(service)}</th>
      <td>${reason === null ? '' : sentence(reason)}</td>
    </tr>`;
  });
  return section(
    'unnamed',
    'Without a name on purpose',
    all.length,
    html`<table class="unnamed" data-sorts>
      <thead>
        <tr>
          <th scope="col">Service</th>
          <th scope="col">Reason</th>
        </tr>
      </thead>
      <tbody>
        ${rows}
      </tbody>
    </table>`,
  );
}

/** In the order in which the script of the page sorts, too. */
function sorted(all: Service[], key: (service: Service) => string): Service[] {
  const { compare } = new Intl.Collator('en', { numeric: true });
  return [...all].sort((one, other) => compare(key(one), key(other)));
}

/** The load balancer as the console shows it, and its DNS name. */
function target({ target }: Service): (Html | string)[] {
  if (target === null) return [];
  const short = loadBalancer(target);
  return short === target ? [...breakable(target)] : [short, html`<span class="quiet">${breakable(target)}</span>`];
}

/** The cell with the time for which a service has had its name. */
function duration(age: Age | undefined, made: Date): Html {
  if (age === undefined) return html`<td data-key=""></td>`;
  const at = 'since' in age ? age.since : age.before;
  const ms = made.getTime() - at.getTime();
  const time = html`<time datetime="${iso(at)}">${utc(at).replace(/ UTC$/, '')}</time>`;
  const [length, begin] = 'since' in age ? ['', 'since'] : ['more than ', 'before'];
  const key = Math.max(0, Math.floor(ms / 1_000));
  return html`<td data-key="${key}">${length}${inWords(ms)} <span class="quiet">${begin} ${time}</span></td>`;
}

/** For example `3 days`. */
function inWords(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return 'less than a minute';
  if (minutes < 120) return counted(minutes, 'minute');
  if (minutes < 48 * 60) return counted(Math.floor(minutes / 60), 'hour');
  return counted(Math.floor(minutes / 1_440), 'day');
}

/** The status in words that fit a state, and not a run. */
function state(service: Service, { observed }: Answer): Html {
  const { status } = service;
  if (isRegistered(service)) return html`registered`;
  const text = isChange({ status }) ? `${observed ? 'would' : 'will'} be ${status}` : status;
  return html`<span class="${color(status)}">${text}</span>`;
}

function color(status: Service['status']): string {
  if (status === 'waiting') return 'slow';
  if (isTrouble({ status })) return 'bad';
  return isChange({ status }) ? 'new' : 'quiet';
}
