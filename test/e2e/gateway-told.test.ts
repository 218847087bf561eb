// What people and scripts are told of what the gateway sees: `status` and `who` agree with the log.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { startRival } from '../support/elsewhere.ts';
import { puppets } from '../support/puppet.ts';
import { staysTrue, until } from '../support/wait.ts';

const codes = (status: { problems: { code: string }[] }) => status.problems.map(({ code }) => code);

test('told: who knows of an overlap and of the rival that it becomes: 1, and what to do', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--rival-after', '6s', '--on-rival', 'insist', '--', ...node('polite.mjs')]);
  startRival(t, b);
  await run.waitFor(/another poller/);
  assert.equal((await b.run(['who'])).code, 1);
  await run.waitFor(/\[rival\]/);
  const who = await b.run(['who']);
  assert.equal(who.code, 1, who.stdout);
  assert.match(who.stdout, /a rival takes the poll.*\n\s+→ Stop the other one/);
  const json = JSON.parse((await b.run(['who', '--json'])).stdout);
  assert.equal(json.problems[0].code, 'rival');
});

test('told: a worker that has never polled is starting, not polling', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--', 'sleep', '1000']);
  await run.waitFor(/\[worker\] started/);
  // Longer than a worker straight at the API needs to count as good.
  await staysTrue('it is starting', 6_000, async () => (await b.status()).state === 'starting');
});

test('told: a webhook of the worker own is shown, and nobody is said to poll', async (t) => {
  const b = await bed(t);
  const strings = await puppets(t, b);
  const { run, puppet } = await strings.start(['--allow-set-webhook']);
  await puppet.call('getUpdates', { offset: 0, timeout: 1 });
  // Libraries do this at each start.
  await puppet.call('deleteWebhook', {});
  assert.doesNotMatch(run.stderr(), /deleted/);
  await puppet.call('setWebhook', { url: 'https://mine.example.com/a' });
  const status = await until('the webhook', async () => {
    const seen = await b.status();
    return seen.webhook?.url.includes('mine.example.com') ? seen : null;
  });
  assert.ok(codes(status).includes('webhook-set'), JSON.stringify(status.problems));
  assert.equal(status.healthy, false);
  const answer = await puppet.call('getUpdates', { offset: 0, timeout: 1 });
  assert.equal(answer.status, 409, 'its own affair');
});

test('told: a sealed worker that uses the real token all the same', async (t) => {
  const b = await bed(t);
  const strings = await puppets(t, b);
  const { run, puppet } = await strings.start(['--sealed']);
  const answer = await puppet.request({ path: `/bot${b.token}/getMe` });
  assert.equal(answer.status, 401);
  await run.waitFor(/real token, not the sealed one/);
  assert.ok(codes(await b.status()).includes('not-sealed'));
});
