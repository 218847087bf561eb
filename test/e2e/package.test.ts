// The package as its users get it: what is in the tarball, and that it installs and runs (on every Node: test/platforms).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Bed, worker } from '../support/bed.ts';
import { it, test, xit } from '../support/kinds.ts';
import { pack } from '../support/packed.ts';
import { newFolder } from '../support/place.ts';
import { findByEnv } from '../support/proc.ts';
import { until } from '../support/wait.ts';

const MB = 1024 * 1024;
const folder = newFolder();

const packed = pack(folder);
const { path: TARBALL, clone } = packed;
const { version, dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  version: string;
  dependencies?: object;
};

/** A project with nothing but the package in it, installed by the npm of this machine run by the Node in `programs`. */
function install(b: Bed, programs: string): Record<string, string> {
  const { TELEGRAM_BOT_TOKEN: _, TELEGRAM_API_ROOT: __, ...rest } = b.env;
  const env = { ...rest, PATH: `${programs}:${rest.PATH}` };
  b.file('package.json', '{"type": "module", "private": true}');
  const done = spawnSync(
    'npm',
    ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', TARBALL],
    { cwd: b.project, env, encoding: 'utf8' },
  );
  assert.equal(done.status, 0, done.stderr);
  return env;
}

test('the tarball holds what runs, and nothing else', () => {
  const allowed =
    /^(?:bin\/entry\.sh|bin\/singlepoll\.js|dist\/[\w-]+\.js|dist\/types\/[\w/]+\.d\.ts|dist\/hooks\/[\w/]+\.(?:cjs|py|rb|php|js)|dist\/THIRD-PARTY-NOTICES\.txt|README\.md|(?:docs|examples)\/[\w.-]+|LICENSE|CHANGELOG\.md|(?:bin\/|dist\/)?package\.json)$/;
  assert.deepEqual(
    packed.files.map(({ path }) => path).filter((path) => !allowed.test(path)),
    [],
  );
  const built = readdirSync(join(clone, 'dist'))
    .filter((name) => name !== 'types' && name !== 'hooks')
    .map((name) => `dist/${name}`);
  assert.ok(!built.includes('dist/stale.js'));
  assert.deepEqual(
    built.filter((path) => !packed.files.some((file) => file.path === path)),
    [],
  );
  const hooks = packed.files.filter(({ path }) => path.startsWith('dist/hooks/'));
  assert.equal(hooks.length, 6, 'one for each runtime, and what Python loads first');
  const program = packed.files.find(({ path }) => path === 'bin/entry.sh');
  assert.ok(program && (program.mode & 0o111) === 0o111);
  assert.ok(packed.size < MB, `${packed.size} bytes packed`);
  assert.ok(packed.unpackedSize < 3 * MB, `${packed.unpackedSize} bytes unpacked`);
  // Everything is in the bundles: --offline below would not find a dependency.
  assert.equal(dependencies, undefined);
  const notices = readFileSync(join(clone, 'dist/THIRD-PARTY-NOTICES.txt'), 'utf8');
  for (const name of ['commander', '@redis/client', 'pg', 'yaml', 'chalk'])
    assert.match(notices, new RegExp(`^${name} \\d`, 'm'));
});

xit('npx singlepoll, installed in a project', async (b) => {
  const env = install(b, dirname(process.execPath));
  const npx = (...args: string[]) =>
    b.spawn('npx', ['--offline', 'singlepoll', ...args], { env, detached: true });

  // A start, a look from outside, a stop: all by npx.
  const run = npx('start', '--sandbox');
  const shown = npx('--version');
  assert.equal((await shown.exit()).code, 0, shown.seen());
  assert.equal(shown.stdout(), `${version} (node ${process.version}, ${process.platform} ${process.arch})\n`);
  await run.waitFor(/\[poll\] \d updates? received/);
  await until('its stray to be gone', () => run.stderr().includes('[stray] gone: 1 process'), {
    seen: run.seen,
  });
  const stopping = npx('stop');
  assert.equal((await stopping.exit()).code, 0, stopping.seen());
  assert.match(stopping.stdout(), /^stopped: /);
  assert.equal((await run.exit()).code, 0, run.seen());
  assert.doesNotMatch(run.stderr(), /Warning|bug in singlepoll/);
  await until('nothing to be left', () => findByEnv('SP_TEST_COOKIE', b.cookie).length === 0);

  const loads = `const a = require('singlepoll'); import('singlepoll').then((b) => console.log(typeof a.start, typeof b.status))`;
  const loaded = spawnSync('node', ['-e', loads], { cwd: b.project, env, encoding: 'utf8' });
  assert.equal(loaded.stdout, 'function function\n', loaded.stderr);
});

it('the example of docs/api.md: its types, strictly, and that it runs', async (b) => {
  install(b, dirname(process.execPath));
  const example = /```js\n(.*?)```/s.exec(readFileSync('docs/api.md', 'utf8'))?.[1] ?? '';
  assert.match(example, /from 'singlepoll'/);
  const main = b.file('main.ts', `${example}\nexport {};\n`);
  // Node itself catches SIGTERM from its start, so only the program can say when its own handler is there.
  const said = example.replace(/^process\.on\('SIGTERM'.*$/m, "$&\nconsole.log('may be stopped');");
  const js = b.file('main.js', said);
  b.file('bot.js', `await import(${JSON.stringify(worker('polite.mjs'))});\n`);
  // Without Node's types, too: a program that has none can still be checked against ours.
  b.file(
    'none.ts',
    `import { start, status, type StartOptions, SinglepollError } from 'singlepoll';
    const options: StartOptions = { restart: 'never', wait: false, stray: ['a'] };
    // @ts-expect-error
    const wrong: StartOptions = { restart: 'sometimes' };
    // @ts-expect-error
    const unknown: StartOptions = { stopTimout: 3 };
    export const all = [start(options), status({ bot: 1 }), new SinglepollError(1, 'x').hint, wrong, unknown] as const;\n`,
  );
  const check = (name: string, module: string, resolution: string, files: string[], types: string[]) => {
    const config = b.file(
      `${name}.json`,
      JSON.stringify({
        compilerOptions: {
          ...{ module, moduleResolution: resolution, target: 'ES2022', lib: ['ES2023'] },
          ...{ strict: true, noEmit: true, skipLibCheck: false, exactOptionalPropertyTypes: true },
          ...{ types, typeRoots: [join(process.cwd(), 'node_modules/@types')] },
        },
        files,
      }),
    );
    const checked = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', config], {
      encoding: 'utf8',
    });
    assert.equal(checked.stdout, '', name);
  };
  check('nodenext', 'nodenext', 'nodenext', [main], ['node']);
  check('bundler', 'esnext', 'bundler', ['none.ts'], []);

  const program = b.spawn(process.execPath, [js], { env: { ...b.env, MY_TOKEN: b.token } });
  await program.waitFor(/^worker \d+, 0 updates\nmay be stopped$/m);
  await program.stop();
  assert.match(
    program.stdout(),
    /^the bot is polling\n.*^the bot is stopping\n.*^ended: asked to by the program that it belongs to\n/ms,
  );
});
