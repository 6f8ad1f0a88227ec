/** Tests of the page that `report` writes, in a real browser. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, type Page, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BROWSER, findBrowser } from '../../scripts/lib/browser.mjs';
import type { Age } from '../cli/ages.js';
import { Discovery } from '../cli/discovery.js';
import { page } from '../cli/page/page.js';
import { STATUSES, type Status, parseAnswer } from '../cli/report.js';

const folder = mkdtempSync(path.join(tmpdir(), 'page-'));
let browser: Browser | undefined;

beforeAll(async () => {
  const executablePath = findBrowser();
  if (executablePath === undefined) throw new Error(`This machine lacks ${BROWSER}.`);
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
  browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', ...quiet],
  });
});

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

function started(): Browser {
  if (browser === undefined) throw new Error('The browser did not start.');
  return browser;
}

const MADE = new Date('2026-11-26T14:05:30Z');
const daysAgo = (days: number) => new Date(MADE.getTime() - days * 86_400_000);

function outcome(service: string, status: Status, more: object = {}) {
  return {
    service: `arn:aws:ecs:eu-west-1:111122223333:service/${service}`,
    name: `${service.split('/')[1] ?? ''}.dev.internal.`,
    zone: 'Z1',
    status,
    target:
      status === 'unchanged' ? `internal-${service.replace('/', '-')}-1234567890.eu-west-1.elb.amazonaws.com.` : null,
    reason: status === 'unchanged' ? null : 'the reason has several words',
    ...more,
  };
}

const AGES: Record<string, Age> = {
  'shop/a1': { since: daysAgo(3) },
  'shop/a9': { before: daysAgo(7) },
  'shop/a10': { since: daysAgo(0.1) },
};

/** Writes a page, and returns its address. */
function write(name: string, outcomes: object[], more: object = {}): string {
  const answer = parseAnswer(
    JSON.stringify({
      environment: 'dev',
      scope: 'all',
      dryRun: true,
      outcomes,
      changes: { created: 0, deleted: 0 },
      ...more,
    }),
  );
  const file = path.join(folder, `${name}.html`);
  const ages = { begin: daysAgo(7), of: ({ service }: { service: string }) => AGES[service], notes: ['a note'] };
  writeFileSync(file, page({ answer, ages, made: MADE, discovery: new Discovery('dev', {}) }));
  return pathToFileURL(file).href;
}

const TROUBLE = {
  readErrors: ['ecs:ListServices failed: denied'],
  fullPass: { managedNames: 1, longNegativeTtls: [{ zone: 'Z1', seconds: 900, command: 'aws route53 …' }] },
};
const NAMES = ['b', 'a10', 'a9', 'a1'].map((name) => outcome(`shop/${name}`, 'unchanged'));
const batch = outcome('shop/batch', 'ignored', { name: null, zone: null });
/** A page with services of all statuses. */
const all = write('all', [...STATUSES.map((status) => outcome(`shop/${status}`, status)), ...NAMES, batch], TROUBLE);

const HOSTILE = `<script>hostile=1</script></style></table></title><img src=x onerror="hostile=1">"'&lt;\u202e\u200bx`;
const hostile = write(
  'hostile',
  [
    ...STATUSES.map((status) => {
      const service = `shop/${status}${HOSTILE}`;
      return outcome(service, status, { name: HOSTILE, zone: HOSTILE, target: HOSTILE, reason: HOSTILE });
    }),
    outcome(`shop/${HOSTILE}`, 'ignored', { name: null, reason: HOSTILE }),
  ],
  { environment: HOSTILE, notes: [HOSTILE], readErrors: [HOSTILE] },
);

const LONG = 'a-very-long-name-without-an-end-'.repeat(6);
const long = write(
  'long',
  [
    outcome(`${LONG}/${LONG}`, 'unchanged', { name: 'x'.repeat(250), target: 'y'.repeat(250) }),
    outcome(`shop/${LONG}`, 'conflict', { reason: 'z'.repeat(500), zone: 'Z2' }),
    outcome(`shop/${LONG}`, 'registered', { target: 'y'.repeat(250), reason: 'z'.repeat(500) }),
  ],
  { environment: 'an-environment-with-32-character', ...TROUBLE },
);

/** Opens a page. Afterwards nothing was loaded, and the browser reported no error, such as one of the policy. */
async function open(address: string, work: (page: Page) => Promise<void>, options: BrowserContextOptions = {}) {
  const context = await started().newContext({ offline: true, viewport: { width: 1280, height: 900 }, ...options });
  const requests: string[] = [];
  const errors: string[] = [];
  try {
    const shown = await context.newPage();
    shown.on('request', (request) => requests.push(request.url()));
    shown.on('console', (message) => errors.push(message.text()));
    shown.on('pageerror', (error) => errors.push(error.message));
    await shown.goto(address);
    await work(shown);
  } finally {
    await context.close();
  }
  expect({ requests, errors }).toEqual({ requests: [address], errors: [] });
}

/** The names of the rows that are visible. */
const visibleNames = (shown: Page) => shown.locator('.names tbody tr:visible th').allInnerTexts();
const first = (names: string[]) => names.map((name) => name.split('.')[0]);

test.each([360, 1280])('the filter shows the rows with all of its words in a window of %i pixels', async (width) => {
  const work = async (shown: Page) => {
    const field = shown.getByLabel('Filter');
    await field.fill('A1');
    expect(first(await visibleNames(shown))).toEqual(['a1', 'a10']);
    expect(await shown.getByRole('status').innerText()).toBe('2 of 17 match');
    // A word may be in any column.
    await field.fill('shop/a  registered');
    expect(first(await visibleNames(shown))).toEqual(['a1', 'a9', 'a10']);
    await field.fill('batch');
    expect(await shown.locator('.names').isVisible()).toBe(false);
    expect(await shown.locator('.unnamed tbody tr:visible').allInnerTexts()).toHaveLength(1);
    await field.fill('nothing has this');
    expect(await shown.getByRole('status').innerText()).toBe('0 of 17 match');
    await field.fill('');
    expect(await visibleNames(shown)).toHaveLength(16);
    expect(await shown.getByRole('status').innerText()).toBe('');
  };
  await open(all, work, { viewport: { width, height: 900 } });
});

describe('sorting', () => {
  test('follows the buttons in the heads of the columns, with the keyboard, too', async () => {
    await open(all, async (shown) => {
      const sorted = async () => {
        const heads = await shown.locator('.names thead th').all();
        return Promise.all(heads.map((head) => head.getAttribute('aria-sort')));
      };
      const before = first(await visibleNames(shown));
      expect(before.slice(0, 4)).toEqual(['a1', 'a9', 'a10', 'adopted']);
      expect(await sorted()).toEqual(['ascending', null, null, null, null]);
      const names = shown.locator('.names');
      await names.getByRole('button', { name: 'Name' }).click();
      expect(first(await visibleNames(shown))).toEqual(before.reverse());
      expect(await sorted()).toEqual(['descending', null, null, null, null]);
      // The youngest name first, and those without an age at the end, in both directions.
      const age = names.getByRole('button', { name: 'Age' });
      await age.focus();
      await shown.keyboard.press('Enter');
      expect(first(await visibleNames(shown)).slice(0, 3)).toEqual(['a10', 'a1', 'a9']);
      await shown.keyboard.press('Space');
      expect(first(await visibleNames(shown)).slice(0, 3)).toEqual(['a9', 'a1', 'a10']);
      expect(await sorted()).toEqual([null, null, null, 'descending', null]);
      // The worst status first.
      await names.getByRole('button', { name: 'Status' }).click();
      expect(first(await visibleNames(shown)).slice(0, 2)).toEqual(['failed', 'rejected']);
    });
  });
});

test('5,000 names can be filtered and sorted', async () => {
  const many = Array.from({ length: 5_000 }, (_, at) => outcome(`shop/service-${at}`, 'unchanged'));
  await open(write('many', many), async (shown) => {
    await shown.getByLabel('Filter').fill('service-4999');
    expect(await shown.getByRole('status').innerText()).toBe('1 of 5,000 match');
    await shown.locator('.names').getByRole('button', { name: 'Name' }).click();
    expect(await shown.locator('.names tbody th').first().innerText()).toBe('service-4999.dev.internal');
  });
});

describe('without scripts', () => {
  test('everything is readable, and nothing looks as if it did something', async () => {
    const work = async (shown: Page) => {
      expect(await visibleNames(shown)).toHaveLength(16);
      expect(await shown.locator('tbody tr:visible').count()).toBe(await shown.locator('tbody tr').count());
      expect(await shown.getByLabel('Filter').isVisible()).toBe(false);
      expect(await shown.locator('button').count()).toBe(0);
      expect(await shown.getByRole('columnheader', { name: 'Load balancer' }).count()).toBe(2);
      for (const title of ['Needs attention', 'Problems', 'Notes', 'About to change', 'Names', 'Without a name']) {
        expect(await shown.getByRole('heading', { name: title }).isVisible(), title).toBe(true);
      }
    };
    await open(all, work, { javaScriptEnabled: false });
  });
});

describe('hostile texts', () => {
  test('are shown as they are, and do nothing', async () => {
    await open(hostile, async (shown) => {
      expect(await shown.evaluate(() => 'hostile' in globalThis)).toBe(false);
      expect(await shown.locator('img').count()).toBe(0);
      expect(await shown.locator('script').count()).toBe(1);
      const text = HOSTILE.replace('\u202e\u200b', '\ufffd\ufffd');
      expect(await shown.title()).toBe(`${text}: ECS service discovery`);
      expect(await shown.getByRole('heading', { level: 1 }).innerText()).toBe(text);
      expect(await shown.locator('.names tbody td').first().innerText()).toContain(text);
      await shown.locator('.names').getByRole('button', { name: 'Status' }).click();
      await shown.getByLabel('Filter').fill('<script>');
      expect(await visibleNames(shown)).toHaveLength(STATUSES.length);
    });
  });
});

/** The lowest contrast of the visible texts of a page, as WCAG 2 computes it. */
const LOWEST_CONTRAST = `(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (color) => {
    const part = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    const [red, green, blue] = color.map((one) => part(one / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const background = (element) => {
    const color = rgba(getComputedStyle(element).backgroundColor);
    return color[3] === 255 ? color : background(element.parentElement);
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.textContent.trim();
    if (text === '' || !element.checkVisibility()) continue;
    const one = luminance(rgba(getComputedStyle(element).color));
    const other = luminance(background(element));
    found.push({ text, ratio: (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) });
  }
  const [lowest] = found.sort((one, other) => one.ratio - other.ratio);
  return { ...lowest, count: found.length, page: getComputedStyle(document.body).backgroundColor };
})()`;

describe.each([
  ['light', 'rgb(255, 255, 255)'],
  ['dark', 'rgb(20, 23, 27)'],
] as const)('in a %s window', (colorScheme, background) => {
  test('each text has enough contrast, on paper, too', async () => {
    const work = async (shown: Page) => {
      const check = async (expected: string) => {
        const found = await shown.evaluate<{ text: string; ratio: number; count: number; page: string }>(
          LOWEST_CONTRAST,
        );
        expect(found.page).toBe(expected);
        expect(found.count).toBeGreaterThan(100);
        expect(found.ratio, found.text).toBeGreaterThanOrEqual(4.5);
      };
      await check(background);
      // The row below the pointer has another background.
      await shown.locator('.names tbody tr').first().hover();
      await check(background);
      await shown.emulateMedia({ media: 'print' });
      await check('rgb(255, 255, 255)');
    };
    await open(all, work, { colorScheme });
  });
});

/** The width of the page, and the texts beyond the edges of their cells, which would cover others. */
const WIDTHS = `({
  page: document.documentElement.scrollWidth,
  cells: [...document.querySelectorAll('tbody :is(th, td)')].filter((one) => one.scrollWidth > one.clientWidth).length,
})`;

test.each([
  ['with all statuses', all],
  ['with long names', long],
  ['with hostile names', hostile],
])('the page %s fits into narrow and wide windows', async (_, address) => {
  await open(address, async (shown) => {
    for (const width of [360, 700, 900, 1600]) {
      await shown.setViewportSize({ width, height: 900 });
      expect(await shown.evaluate(WIDTHS)).toEqual({ page: width, cells: 0 });
    }
  });
});

describe('for assistive technology', () => {
  test('tables stay tables in narrow and wide windows', async () => {
    await open(all, async (shown) => {
      for (const width of [360, 1280]) {
        await shown.setViewportSize({ width, height: 900 });
        const names = shown.getByRole('table', { name: /^The age is the time/ });
        expect(await names.getByRole('columnheader').count()).toBe(5);
        expect(await names.getByRole('rowheader').count()).toBe(16);
        expect(await names.getByRole('row').count()).toBe(17);
      }
    });
  });

  test('the page has a language, a title, headings in order, and links to its sections', async () => {
    await open(all, async (shown) => {
      expect(await shown.locator('html').getAttribute('lang')).toBe('en');
      expect(await shown.title()).toBe('dev: ECS service discovery');
      const all = (expression: string) => shown.evaluate<string[]>(`[...document.querySelectorAll(${expression}`);
      const levels = await all("'h1, h2, h3, h4')].map((one) => one.tagName)");
      expect(levels).toEqual(['H1', ...Array.from({ length: 6 }, () => 'H2')]);
      const links = await all("'a')].map((one) => one.getAttribute('href'))");
      expect(links).toEqual(['#names', '#attention', '#changes', '#names', '#unnamed']);
      for (const link of links) expect(await shown.locator(`h2${link}`).count(), link).toBe(1);
    });
  });

  test('each status has words of its own', async () => {
    await open(all, async (shown) => {
      const states = await shown.locator('.names tbody td:nth-child(5)').allInnerTexts();
      expect(new Set(states.map((text) => text.split('\n')[0])).size).toBe(STATUSES.length);
    });
  });
});
