// The status page in a real browser: its own policy lets its style in and nothing else, it fits narrow screens, loads itself again,
// and a page from elsewhere whose name leads here reads nothing of it.
import assert from 'node:assert/strict';
import { node } from '../support/bed.ts';
import { openBrowser } from '../support/browser.ts';
import { code, get, httpPort } from '../support/http.ts';
import { assertNoToken } from '../support/judge.ts';
import { xit } from '../support/kinds.ts';
import { until } from '../support/wait.ts';

xit('page: in a browser, with a crash and a hostile name on it', async (b) => {
  const browser = await openBrowser(b.t, ['evil.example']);
  const evil = `--name=<img src=x onerror=document.title='owned'><script>document.title='owned'</script>`;
  const command = [...node('exits.mjs', '4'), evil, 'x'.repeat(150)];
  const run = b.cli(['start', '--http', '0', '--backoff', '60s,60s', '--', ...command]);
  const port = await httpPort(run);
  const url = `http://127.0.0.1:${port}/`;
  const isTold = async () => (await get(port, '/')).body.includes('keeps ending');
  await until('the page to tell of the crash', isTold, run);
  assert.deepEqual([await code(port, '/readyz'), await code(port, '/healthz')], [503, 200]);
  assert.equal(await browser.open(url), 200);
  assertNoToken(await browser.evaluate<string>('document.documentElement.outerHTML'), b.token);
  assert.equal(await browser.evaluate('document.querySelectorAll("img,script").length'), 0);
  assert.match(await browser.evaluate('document.title'), /^1 problem, /);
  assert.ok((await browser.evaluate<string>('document.body.innerText')).includes('<img src=x onerror='));
  assert.equal(await browser.evaluate('getComputedStyle(document.querySelector("dd")).margin'), '0px');
  for (const width of [320, 1200]) {
    await browser.view({ width, dark: width === 320 });
    assert.ok((await browser.evaluate<number>('document.documentElement.scrollWidth')) <= width, `${width}`);
  }
  const begin = await browser.evaluate<number>('performance.timeOrigin');
  await until(
    'the page to load itself again',
    async () => (await browser.evaluate<number>('performance.timeOrigin').catch(() => begin)) > begin,
    { ms: 20_000, everyMs: 200 },
  );
  assert.deepEqual(browser.complaints(), [], 'nothing was refused');
  for (const asked of browser.requests())
    assert.ok(asked === url || asked.endsWith('/favicon.ico'), `nothing from elsewhere: ${asked}`);
  assert.equal(await browser.open(`http://evil.example:${port}/`), 421);
  assert.ok(!(await browser.evaluate<string>('document.body.innerText')).includes('exits.mjs'));
});
