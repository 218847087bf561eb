// `singlepoll doctor` as it is typed: exit codes, places, JSON, the machine, git history, and that it reads only.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { type Bed, randomToken } from '../support/bed.ts';
import { assertNoControls, assertNoToken } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { listen } from '../support/place.ts';
import { carried, writeProject } from '../support/project.ts';

interface Doc {
  folder: string;
  healthy: boolean;
  findings: { rule: string; file: string | null; line: number | null; why: string; cure: string }[];
  notes: { rule: string; cure: string }[];
  environment: { check: string; ok: boolean | null; message: string }[];
}

async function doctor(b: Bed, args: string[] = [], env = b.env) {
  const { code, stdout, stderr } = await b.run(['doctor', '--json', ...args], { env });
  assert.equal(stderr, '');
  assert.equal(stdout.trim().split('\n').length, 1, stdout);
  return { code, doc: JSON.parse(stdout) as Doc, text: stdout };
}

const rules = ({ findings }: Doc): string[] => findings.map(({ rule }) => rule);
const places = ({ findings }: Doc) =>
  findings.map(({ rule, file, line }) => `${rule} ${file}:${line}`).sort();
const check = ({ environment }: Doc, name: string) => environment.find((one) => one.check === name);

const listing = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((path) => `${path} ${statSync(join(folder, path)).mtimeMs}`)
    .sort();

function git(b: Bed, ...args: string[]): void {
  const who = ['-c', 'user.name=t', '-c', 'user.email=t@example.org'];
  execFileSync('git', [...who, ...args], { cwd: b.project, stdio: 'pipe' });
}

it('a healthy project and one that is not: 0 and 1 with each place, no token, nothing written; as text with reason and cure', async (b) => {
  const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
  for (const project of ['monorepo', 'ptb-two-envs'].map(carried)) {
    const folder = join(b.dir, 'carried', project.name);
    writeProject(folder, project);
    const before = listing(folder);
    const { code, doc, text } = await doctor(b, ['--offline', folder], env);
    assert.deepEqual([code, doc.healthy, doc.folder], [project.healthy ? 0 : 1, project.healthy, folder]);
    assert.deepEqual(places(doc), project.expected, text);
    assert.deepEqual(listing(folder), before);
    for (const token of project.tokens) assertNoToken(text, token);
  }
  assert.deepEqual(readdirSync(b.stateDir), []);
  writeProject(b.project, carried('telebot-flask-gunicorn'));
  const { stdout, stderr } = await b.exits(1, 'doctor');
  assert.equal(stderr, '');
  for (const pattern of [
    /^✗ Procfile:1 {2}server-workers\n {2}gunicorn runs 4 workers.*app\.py:10.*\n {2}→ gunicorn app:app --bind .* --workers 1\n/m,
    /^✗ app\.py:18 {2}reloader\n {2}Flask's debug reloader runs .*\n {2}→ app\.run\(debug=True, use_reloader=False\)/m,
    /✓ .*process.*state folder.*answers in \d+ ms.*clock agrees/,
    /2 findings\n$/,
  ])
    assert.match(stdout, pattern);
  assert.equal(b.sandbox.methods().length, 0, 'no method of the bot was called');
});

it('what loads no hook: a note with the one thing to do, unless that is done', async (b) => {
  const rows: Record<string, string>[] = [
    { 'main.go': 'package main\nimport tele "gopkg.in/telebot.v3"\n' },
    {
      'bot.ts': 'import { Bot } from "npm:grammy";\nconst bot = new Bot(t);\nbot.start();\n',
      Procfile: 'bot: deno run -A bot.ts\n',
    },
  ];
  for (const [index, files] of rows.entries()) {
    const folder = join(b.project, String(index));
    mkdirSync(folder);
    for (const [name, text] of Object.entries(files)) b.file(`${index}/${name}`, text);
    const { notes } = (await doctor(b, ['--offline', folder])).doc;
    assert.deepEqual(
      notes.map(({ rule, cure }) => `${rule}: ${cure}`),
      ['past-gateway: singlepoll start --intercept proxy'],
    );
    b.file(`${index}/singlepoll.toml`, 'intercept = "proxy"\n');
    assert.deepEqual((await doctor(b, ['--offline', folder])).doc.notes, []);
  }
});

it('bad input: 78; what start would refuse is a finding: two bots, a broken singlepoll.toml', async (b) => {
  b.file('a-file', 'x');
  const missing = await b.exits(78, 'doctor /no/such/folder');
  assert.match(missing.stderr, /\/no\/such\/folder.*is not there\n {2}→ singlepoll doctor/);
  await b.exits(78, 'doctor a-file');
  await b.exits(78, `doctor ${'a'.repeat(5_000)}`);
  const other = randomToken();
  const two = await doctor(b, ['--offline'], { ...b.env, BOT_TOKEN: other });
  assert.deepEqual(rules(two.doc), ['configuration']);
  assertNoToken(two.text, other);
  b.file('singlepoll.toml', 'stopTimeout = "soon"\n');
  assert.match((await doctor(b, ['--offline'])).doc.findings[0]!.why, /stopTimeout/);
});

it('git: a token that was committed and removed is found; a revoked one of the present bot, and another repository, are not', async (b) => {
  const [leaked, revoked] = [randomToken(), randomToken(b.botId)];
  git(b, 'init', '-q');
  b.file('settings.py', `# settings\nTOKEN = "${leaked}"\nOLD = "${revoked}"\n`);
  git(b, 'add', '.');
  git(b, 'commit', '-qm', 'first');
  b.file('settings.py', 'import os\n');
  git(b, 'commit', '-qam', 'second');
  const { code, doc, text } = await doctor(b, ['--offline']);
  assert.deepEqual([code, places(doc)], [1, ['token-in-git settings.py:2']]);
  assert.match(doc.findings[0]!.why, new RegExp(`bot ${leaked.split(':')[0]} .*commit [0-9a-f]{10}`));
  for (const token of [leaked, revoked, b.token]) assertNoToken(text, token);
  mkdirSync(join(b.project, 'inner'));
  // Of the repository around only this folder counts.
  assert.equal((await doctor(b, ['--offline', 'inner'])).code, 0);
});

xit('git: a repository that names programs of its own runs none of them', async (b) => {
  const mark = join(b.dir, 'ran');
  git(b, 'init', '-q');
  b.file('.gitattributes', '* diff=evil\n');
  b.file('a.py', `T = "${randomToken()}"\n`);
  git(b, 'add', '.');
  git(b, 'commit', '-qm', 'x');
  for (const key of 'diff.evil.textconv diff.evil.command diff.external core.fsmonitor core.pager'.split(' '))
    git(b, 'config', key, `sh -c 'touch ${mark}; cat "$1"' --`);
  assert.deepEqual(rules((await doctor(b, ['--offline'])).doc), ['token-in-git']);
  assert.ok(!existsSync(mark));
});

xit('the machine: an open .env, a state folder open to others; the network: out of reach, an unknown name, a wrong clock', async (b) => {
  b.file('.env', `BOT_TOKEN=${b.token}\n`, 0o644);
  chmodSync(b.stateDir, 0o777);
  const { code, doc } = await doctor(b, ['--offline']);
  assert.deepEqual([code, rules(doc)], [1, ['state-folder', 'env-permissions']]);
  assert.deepEqual([doc.findings[1]!.file, doc.findings[1]!.cure], ['.env', 'chmod 600 .env']);
  const offline = ['dns', 'api-root', 'clock'].map((name) => check(doc, name)?.ok);
  assert.deepEqual(offline, [null, null, null]);
  chmodSync(b.stateDir, 0o700);
  chmodSync(join(b.project, '.env'), 0o600);
  assert.equal((await doctor(b)).code, 0);

  const at = async (root: string) => (await doctor(b, [], { ...b.env, TELEGRAM_API_ROOT: root })).doc;
  const refused = await at('http://127.0.0.1:1');
  assert.match(check(refused, 'api-root')!.message, /out of reach: ECONNREFUSED/);
  assert.equal(check(refused, 'clock')!.ok, null);
  assert.deepEqual(rules(await at('http://no-such-host.invalid')), ['dns']);
  const server = createServer((request, response) => {
    if (request.url === '/hang') return;
    response.setHeader('date', new Date(Date.now() - 120_000).toUTCString());
    response.writeHead(302).end();
  });
  const root = `http://127.0.0.1:${await listen(b.t, server)}`;
  const wrong = await at(root);
  assert.deepEqual(rules(wrong), ['clock']);
  assert.match(check(wrong, 'clock')!.message, /1(19|2\d) s ahead/);
  assert.match(check(await at(`${root}/hang`), 'api-root')!.message, /no answer within 5 s/);
});

xit('bounded: symlink loops, FIFOs, big files, node_modules, deep folders, names that steer the terminal', async (b) => {
  symlinkSync('.', join(b.project, 'loop'));
  symlinkSync('self.py', join(b.project, 'self.py'));
  execFileSync('mkfifo', [join(b.project, 'fifo.py')]);
  b.file('big.py', `T = "${randomToken()}"\n${'x = 1\n'.repeat(200_000)}`);
  for (const folder of ['node_modules/x', Array(12).fill('d').join('/')])
    mkdirSync(join(b.project, folder), { recursive: true });
  b.file('node_modules/x/i.js', `'${randomToken()}'`);
  b.file('a\x1b[31m\n.py', `T = "${randomToken()}"\n`);
  const { stdout } = await b.exits(1, 'doctor --offline');
  for (const pattern of [
    /^✗ a\\e\[31m\\n\.py:1 {2}token-in-file/m,
    /1 finding\n$/,
    /big\.py: it is larger than 1 MiB/,
    /more than 8 deep/,
  ])
    assert.match(stdout, pattern);
  assertNoControls(stdout);
});
