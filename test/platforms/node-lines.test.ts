// The packed tarball on each line of Node, the oldest and the newest patch of 20 among them: installed as users do it, started, led, put
// in place of a running one, and removed; Bun and Deno as workers.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after } from 'node:test';
import { type Bed, node, worker } from '../support/bed.ts';
import { openEngine } from '../support/engines.ts';
import { xit } from '../support/kinds.ts';
import { pack } from '../support/packed.ts';
import { newFolder } from '../support/place.ts';
import { findByEnv } from '../support/proc.ts';
import { nodeBuild, npmPrograms } from '../support/programs.ts';
import { until } from '../support/wait.ts';

const VERSIONS = ['20.20.0', '20.20.2', '22', '24', '26'];
const folder = newFolder();
const { path: TARBALL } = pack(join(folder, 'present'));
/** All chunks have other names in it, as in a release to come. */
const { path: NEXT } = pack(join(folder, 'next'), (clone) => {
  const errors = join(clone, 'src/errors.ts');
  const version = join(clone, 'package.json');
  writeFileSync(errors, `${readFileSync(errors, 'utf8')}globalThis.process.uptime();\n`);
  writeFileSync(version, readFileSync(version, 'utf8').replace(/"version": "[^"]*"/, '"version": "99.0.0"'));
});
const redis = await openEngine('redis');
after(() => redis.close());

/** A machine with that Node alone, on which the package is installed globally. */
function machine(b: Bed, version: string) {
  const prefix = join(b.dir, 'prefix');
  const { TELEGRAM_BOT_TOKEN: token = '', ...rest } = b.env;
  // The built-in sandbox has a bot of its own.
  let bot: Record<string, string> = {};
  const on = (line: string) => ({ ...rest, PATH: `${join(prefix, 'bin')}:${nodeBuild(line)}:${rest.PATH}` });
  const env = on(version);
  const npm = (...words: string[]): void => {
    const options = [
      '--global',
      '--offline',
      '--prefix',
      prefix,
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
    ];
    const done = spawnSync('npm', [...words, ...options], { cwd: b.project, env, encoding: 'utf8' });
    assert.equal(done.status, 0, done.stderr + done.stdout);
  };
  npm('install', TARBALL);
  return {
    npm,
    prefix,
    useToken(): void {
      bot = { TELEGRAM_BOT_TOKEN: token };
    },
    /** Runs `singlepoll WORDS` to its end, which must be a good one. `line`: by another Node. */
    async singlepoll(words: readonly string[], line = version): Promise<string> {
      const run = b.spawn('singlepoll', words, { env: { ...on(line), ...bot }, detached: true });
      await run.ends(0);
      assert.doesNotMatch(run.stderr(), /Warning|bug in singlepoll/);
      return run.stdout();
    },
  };
}

/** Nothing of a test is left but what is in its state folder and what npm makes. */
async function leavesNothing(b: Bed, prefix: string): Promise<void> {
  await until('nothing to be left', () => findByEnv('SP_TEST_COOKIE', b.cookie).length === 0);
  assert.ok(!existsSync(join(prefix, 'lib/node_modules/singlepoll')));
  assert.deepEqual(readdirSync(join(prefix, 'bin')), []);
  assert.deepEqual(
    readdirSync(join(b.dir, 'home')).filter((name) => name !== '.npm'),
    [],
  );
}

for (const version of VERSIONS) {
  xit(`node ${version}: installed globally, sandbox, lease, an upgrade in place, removed`, async (b) => {
    const { singlepoll, npm, prefix, useToken } = machine(b, version);
    const told = await singlepoll(['--version']);
    assert.match(told, new RegExp(`node v${version.replaceAll('.', '\\.')}`));
    const statusOf = async () => JSON.parse(await singlepoll(['status', '--json']));

    await singlepoll(['start', '-d', '--sandbox']);
    assert.equal((await statusOf()).state, 'polling');
    assert.match(await singlepoll(['stop']), /^stopped: /);

    useToken();
    await singlepoll(['start', '-d', '--lease', redis.url(), '--', ...node('polite.mjs')]);
    const before = await statusOf();
    assert.ok(before.lease.mine && before.bot.id === b.botId);

    // The next release over it: the supervisor goes on, and obeys the new commands, whatever Node runs them.
    npm('install', NEXT);
    process.kill(before.worker.pid, 'SIGKILL');
    const isReplaced = async () => (await statusOf()).worker?.spawns === 2;
    await until('the next worker', isReplaced);
    await singlepoll(
      ['restart'],
      VERSIONS.find((it) => it !== version),
    );
    const after = await statusOf();
    const log = () => readFileSync(join(b.stateDir, String(b.botId), 'singlepoll.log'), 'utf8');
    assert.equal(after.supervisor.pid, before.supervisor.pid);
    assert.equal(after.worker.spawns, 3, log());
    assert.match(await singlepoll(['stop'], VERSIONS.at(-1)), /^stopped: /);
    assert.doesNotMatch(log(), /bug|ERR_MODULE_NOT_FOUND|Cannot find/i);

    npm('uninstall', 'singlepoll');
    await leavesNothing(b, prefix);
  });
}

for (const [name, command] of [
  ['bun', [join(npmPrograms('bun', '1.4.5'), 'bun')]],
  ['deno', [join(npmPrograms('deno', '2.9.6'), 'deno'), 'run', '-A']],
] as const)
  xit(`${name} runs the worker`, async (b) => {
    const { singlepoll, useToken } = machine(b, '20.20.2');
    useToken();
    await singlepoll(['start', '-d', '--', ...command, worker('polite.mjs')]);
    await b.serves();
    const { polling, worker: shown } = JSON.parse(await singlepoll(['status', '--json']));
    assert.equal(polling.via, 'gateway');
    assert.ok(shown.tree.some((it: { command: string }) => it.command.includes(name)));
    assert.match(await singlepoll(['stop']), /^stopped: /);
    await until('nothing to be left', () => findByEnv('SP_TEST_COOKIE', b.cookie).length === 0);
  });
