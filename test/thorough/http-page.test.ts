// The status page in a real browser: looks as meant under its own policy, narrow and wide, dark and light, without any script;
// loads itself again; fetches nothing from elsewhere; and pages from elsewhere read nothing of it.
// SP_TEST_SCREENSHOTS=folder keeps pictures, to be looked at.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { type Browser, openBrowser } from '../support/browser.ts';
import { get, httpPort } from '../support/http.ts';
import { assertNoToken } from '../support/judge.ts';
import { until } from '../support/wait.ts';

const KEEP = process.env.SP_TEST_SCREENSHOTS;
const BACKGROUND = 'getComputedStyle(document.body).backgroundColor';

async function shoot(browser: Browser, name: string): Promise<void> {
  if (KEEP) await browser.screenshot(join(KEEP, `${name}.png`));
}

test('page: in a browser without scripts, at four widths, light and dark; loads itself again', async (t) => {
  const b = await bed(t);
  b.sandbox.text('hello');
  const browser = await openBrowser(t);
  const run = await b.polling(['--http', '0', '--', ...node('setsid-child.mjs')]);
  const url = `http://127.0.0.1:${await httpPort(run)}/`;
  const me = await b.sandbox.call<{ username: string }>('getMe');
  await until('it to poll', async () => (await b.status()).polling?.polls, { everyMs: 200 });

  assert.equal(await browser.open(url), 200);
  const html = await browser.evaluate<string>('document.documentElement.outerHTML');
  assert.match(html, new RegExp(`<h1>@${me.username}`));
  assert.match(html, /class="state good">polling/);
  assert.match(await browser.evaluate('document.title'), new RegExp(`^polling · @${me.username}`));
  assertNoToken(html, b.token);
  for (const dark of [false, true]) {
    for (const width of [320, 380, 768, 1200]) {
      await browser.view({ width, dark });
      const seen = await browser.evaluate<number>('document.documentElement.scrollWidth');
      assert.ok(seen <= width, `at ${width} the page is ${seen} wide`);
      const wanted = dark ? 'rgb(18, 22, 28)' : 'rgb(246, 247, 249)';
      assert.equal(await browser.evaluate(BACKGROUND), wanted, 'the policy lets the style in');
      await shoot(browser, `polling-${width}${dark ? '-dark' : ''}`);
    }
  }
  const begin = await browser.evaluate<number>('performance.timeOrigin');
  await until(
    'the page to load itself again',
    async () => (await browser.evaluate<number>('performance.timeOrigin').catch(() => begin)) > begin,
    { ms: 20_000, everyMs: 200 },
  );
  assert.deepEqual(browser.complaints(), [], 'nothing was refused');
  for (const asked of browser.requests())
    assert.ok(asked === url || asked.startsWith('data:'), `nothing from elsewhere: ${asked}`);

  assert.equal(await browser.open(`${url}?refresh=off`), 200);
  assert.equal(await browser.evaluate('document.querySelectorAll("meta[http-equiv]").length'), 0);
});

test('page: trouble comes first; a hostile name is text', async (t) => {
  const b = await bed(t);
  const browser = await openBrowser(t);
  const evil = `--name=<img src=x onerror=document.title='owned'><script>document.title='owned'</script>`;
  const run = b.cli([
    ...['start', '--http', '0', '--backoff', '20s,30s'],
    ...['--', ...node('exits.mjs', '4'), evil, 'x'.repeat(150)],
  ]);
  const port = await httpPort(run);
  const url = `http://127.0.0.1:${port}/?refresh=off`;
  await until(
    'the page to tell of the crash',
    async () => (await get(port, '/')).body.includes('keeps ending'),
    {
      seen: run.seen,
    },
  );
  assert.equal(await browser.open(url), 200);
  assert.equal(await browser.evaluate('document.querySelectorAll("img,script").length'), 0);
  assert.match(await browser.evaluate('document.title'), /^1 problem, /);
  assert.ok((await browser.evaluate<string>('document.body.innerText')).includes('<img src=x onerror='));
  await browser.view({ width: 380 });
  const top = (selector: string) =>
    browser.evaluate<number>(
      `document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect().top`,
    );
  assert.ok((await top('.problems')) < (await top('dl')));
  assert.ok((await browser.evaluate<number>('document.documentElement.scrollWidth')) <= 380);
  for (const [width, dark] of [
    [380, false],
    [1200, true],
  ] as const) {
    await browser.view({ width, dark });
    await shoot(browser, `trouble-${width}${dark ? '-dark' : ''}`);
  }
});

test('page: a page from elsewhere whose name leads here reads nothing', async (t) => {
  const b = await bed(t);
  const browser = await openBrowser(t, ['evil.example']);
  const run = await b.polling(['--http', '0', '--', ...node('polite.mjs')]);
  const port = await httpPort(run);
  assert.equal(await browser.open(`http://evil.example:${port}/`), 421);
  assert.ok(!(await browser.evaluate<string>('document.body.innerText')).includes(String(run.pid)));
  assert.equal(await browser.open(`http://localhost:${port}/`), 200);
});
