// `singlepoll doctor` as it is typed: exit codes, places, JSON, the machine, git history, and that it reads only.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Bed, bed, randomToken } from '../support/bed.ts';
import { assertNoControls, assertNoToken } from '../support/judge.ts';
import { carried, writeProject } from '../support/project.ts';

interface Doc {
  folder: string;
  healthy: boolean;
  findings: { rule: string; file: string | null; line: number | null; why: string; cure: string }[];
  notes: { rule: string; file: string; line: number }[];
  environment: { check: string; ok: boolean | null; message: string; cure: string | null }[];
  limits: string[];
}

async function doctor(
  b: Bed,
  args: string[] = [],
  env = b.env,
): Promise<{ code: number | null; doc: Doc; text: string }> {
  const { code, stdout, stderr } = await b.run(['doctor', '--json', ...args], { env });
  assert.equal(stderr, '');
  assert.equal(stdout.trim().split('\n').length, 1, stdout);
  return { code, doc: JSON.parse(stdout) as Doc, text: stdout };
}

const rules = ({ findings }: Doc): string[] => findings.map(({ rule }) => rule);
const check = ({ environment }: Doc, name: string) => environment.find((one) => one.check === name);

test('a healthy project and one that is not: 0 and 1 with each place, no token, nothing written', async (t) => {
  const b = await bed(t);
  const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
  for (const project of ['monorepo', 'ptb-two-envs'].map(carried)) {
    const folder = join(b.dir, 'carried', project.name);
    writeProject(folder, project);
    const before = listing(folder);
    const { code, doc, text } = await doctor(b, ['--offline', folder], env);
    assert.equal(code, project.healthy ? 0 : 1, text);
    assert.equal(doc.healthy, project.healthy);
    assert.equal(doc.folder, folder);
    const found = doc.findings.map(({ rule, file, line }) => `${rule} ${file}:${line}`);
    assert.deepEqual(found.sort(), project.expected, text);
    assert.deepEqual(listing(folder), before);
    for (const token of project.tokens) assertNoToken(text, token);
  }
  assert.deepEqual(readdirSync(b.stateDir), []);
});

function listing(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((path) => `${path} ${statSync(join(folder, path)).mtimeMs}`)
    .sort();
}

const gitIn =
  (cwd: string) =>
  (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', ...args], {
      cwd,
      stdio: 'pipe',
    });

test('text: each finding with file, line, reason and cure; the machine in one line', async (t) => {
  const b = await bed(t);
  writeProject(b.project, carried('telebot-flask-gunicorn'));
  const { code, stdout, stderr } = await b.run(['doctor']);
  assert.equal(code, 1);
  assert.equal(stderr, '');
  assert.match(
    stdout,
    /^✗ Procfile:1 {2}server-workers\n {2}gunicorn runs 4 workers.*app\.py:10.*\n {2}→ gunicorn app:app --bind .* --workers 1\n/m,
  );
  assert.match(stdout, /^✗ app\.py:18 {2}reloader\n.*\n {2}→ app\.run\(debug=True, use_reloader=False\)/m);
  assert.match(stdout, /✓ .*process.*state folder.*answers in \d+ ms.*clock agrees/);
  assert.match(stdout, /2 findings\n$/);
  assert.equal(b.sandbox.methods().length, 0, 'no method of the bot was called');
});

test('bad input: 64 and 78', async (t) => {
  const b = await bed(t);
  b.file('a-file', 'x');
  assert.equal((await b.run(['doctor', '--wrong'])).code, 64);
  assert.equal((await b.run(['doctor', 'a', 'b'])).code, 64);
  const missing = await b.run(['doctor', '/no/such/folder']);
  assert.equal(missing.code, 78);
  assert.match(missing.stderr, /\/no\/such\/folder.*is not there\n {2}→ singlepoll doctor/);
  assert.equal((await b.run(['doctor', 'a-file'])).code, 78);
  const help = await b.run(['doctor', '--help']);
  assert.equal(help.code, 0);
  assert.match(help.stdout, /--offline[\s\S]*Examples:\n {2}singlepoll doctor\n {2}singlepoll doctor .+\n/);
});

test('git: a token that was committed and removed is found; a revoked one of the present bot, and another repository, are not', async (t) => {
  const b = await bed(t);
  const git = gitIn(b.project);
  const leaked = randomToken();
  const revoked = randomToken(b.botId);
  git('init', '-q');
  b.file('settings.py', `# settings\nTOKEN = "${leaked}"\nOLD = "${revoked}"\n`);
  git('add', '.');
  git('commit', '-qm', 'first');
  b.file('settings.py', 'import os\n');
  git('commit', '-qam', 'second');
  const { code, doc, text } = await doctor(b, ['--offline']);
  assert.equal(code, 1);
  assert.deepEqual(
    doc.findings.map(({ rule, file, line }) => `${rule} ${file}:${line}`),
    ['token-in-git settings.py:2'],
  );
  assert.match(doc.findings[0]!.why, new RegExp(`bot ${leaked.split(':')[0]} .*commit [0-9a-f]{10}`));
  for (const token of [leaked, revoked, b.token]) assertNoToken(text, token);
  mkdirSync(join(b.project, 'inner'));
  assert.equal(
    (await doctor(b, ['--offline', 'inner'])).code,
    0,
    'of the repository around only this folder counts',
  );
});

test('git: a repository that names programs of its own runs none of them', async (t) => {
  const b = await bed(t);
  const mark = join(b.dir, 'ran');
  const git = gitIn(b.project);
  git('init', '-q');
  b.file('.gitattributes', '* diff=evil\n');
  b.file('a.py', `T = "${randomToken()}"\n`);
  git('add', '.');
  git('commit', '-qm', 'x');
  for (const key of 'diff.evil.textconv diff.evil.command diff.external core.fsmonitor core.pager'.split(' '))
    git('config', key, `sh -c 'touch ${mark}; cat "$1"' --`);
  assert.deepEqual(rules((await doctor(b, ['--offline'])).doc), ['token-in-git']);
  assert.throws(() => statSync(mark), /ENOENT/);
});

test('the machine: an open .env, a state folder open to others', async (t) => {
  const b = await bed(t);
  b.file('.env', `BOT_TOKEN=${b.token}\n`, 0o644);
  chmodSync(b.stateDir, 0o777);
  const { code, doc } = await doctor(b, ['--offline']);
  assert.equal(code, 1);
  assert.deepEqual(rules(doc), ['state-folder', 'env-permissions']);
  assert.equal(doc.findings[1]!.cure, 'chmod 600 .env');
  assert.equal(doc.findings[1]!.file, '.env');
  assert.deepEqual(
    ['dns', 'api-root', 'clock'].map((name) => check(doc, name)?.ok),
    [null, null, null],
  );
  chmodSync(b.stateDir, 0o700);
  chmodSync(join(b.project, '.env'), 0o600);
  assert.equal((await doctor(b)).code, 0);
});

test('the network: out of reach, hanging, an unknown name, a wrong clock', async (t) => {
  const b = await bed(t);
  const at = (root: string) => doctor(b, [], { ...b.env, TELEGRAM_API_ROOT: root });
  const refused = await at('http://127.0.0.1:1');
  assert.equal(refused.code, 1);
  assert.match(check(refused.doc, 'api-root')!.message, /out of reach: ECONNREFUSED/);
  assert.equal(check(refused.doc, 'clock')!.ok, null);

  const unknown = await at('http://no-such-host.invalid');
  assert.deepEqual(rules(unknown.doc), ['dns']);

  const server = createServer((request, response) => {
    if (request.url === '/hang') return;
    response.setHeader('date', new Date(Date.now() - 120_000).toUTCString());
    response.statusCode = request.url === '/broken' ? 502 : 302;
    response.end();
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const root = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const wrong = await at(root);
  assert.deepEqual(rules(wrong.doc), ['clock']);
  assert.match(check(wrong.doc, 'clock')!.message, /1(19|2[0-2]) s ahead/);
  assert.match(check((await at(`${root}/broken`)).doc, 'api-root')!.message, /answers 502/);
  const hanging = await at(`${root}/hang`);
  assert.match(check(hanging.doc, 'api-root')!.message, /no answer within 8 s/);
});

test('what start would refuse is a finding: two bots, a broken singlepoll.toml', async (t) => {
  const b = await bed(t);
  const other = randomToken();
  const two = await doctor(b, ['--offline'], { ...b.env, BOT_TOKEN: other });
  assert.deepEqual(rules(two.doc), ['configuration']);
  assertNoToken(two.text, other);
  b.file('singlepoll.toml', 'stopTimeout = "soon"\n');
  assert.match((await doctor(b, ['--offline'])).doc.findings[0]!.why, /stopTimeout/);
});

test('bounded: symlink loops, FIFOs, big files, node_modules, folders that may not be read, names that steer the terminal', async (t) => {
  const b = await bed(t);
  symlinkSync('.', join(b.project, 'loop'));
  symlinkSync('self.py', join(b.project, 'self.py'));
  execFileSync('mkfifo', [join(b.project, 'fifo.py')]);
  b.file('big.py', `T = "${randomToken()}"\n${'x = 1\n'.repeat(100_000)}`);
  mkdirSync(join(b.project, 'node_modules/x'), { recursive: true });
  writeFileSync(join(b.project, 'node_modules/x/i.js'), `'${randomToken()}'`);
  const name = 'a\x1b[31m\n.py';
  b.file(name, `T = "${randomToken()}"\n`);
  let deep = b.project;
  for (let level = 0; level < 12; level++) deep = join(deep, 'd');
  mkdirSync(deep, { recursive: true });
  const { code, stdout } = await b.run(['doctor', '--offline']);
  assert.equal(code, 1, stdout);
  assert.match(stdout, /^✗ a\\e\[31m\\n\.py:1 {2}token-in-file/m);
  assert.match(stdout, /1 finding\n$/);
  assert.match(stdout, /big\.py is too big/);
  assert.match(stdout, /more than 8 deep/);
  assertNoControls(stdout);
});
