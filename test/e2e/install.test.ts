// `install` and `uninstall`: what is shown and written, checked by the tools that read it, and run by cron's shell.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Bed, type Finished, node, PYTHON, type StartOptions } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { leftovers, logText } from '../support/detach-bed.ts';
import { it, xit } from '../support/kinds.ts';
import { environOf } from '../support/proc.ts';
import { copyProgram } from '../support/program-copy.ts';
import { until } from '../support/wait.ts';

const secretOf = (b: Bed): string => b.token.split(':')[1] ?? '?';

/** With a name that every language has to quote. */
function oddFolder(b: Bed): string {
  const folder = join(b.dir, `it's 100% "odd" & <$HOME>; x`);
  mkdirSync(folder, { recursive: true });
  return folder;
}

function analyze(b: Bed, words: string[]): { code: number | null; text: string } {
  const env = { PATH: b.env.PATH, HOME: b.env.HOME, XDG_RUNTIME_DIR: b.dir };
  const ran = spawnSync('systemd-analyze', words, { encoding: 'utf8', env });
  return { code: ran.status, text: ran.stdout + ran.stderr };
}

/** What a Python program prints as JSON of one text. */
function python(b: Bed, program: string, input: string): unknown {
  const ran = spawnSync(PYTHON, ['-c', program], { input, encoding: 'utf8', cwd: b.dir });
  assert.equal(ran.status, 0, ran.stderr);
  return JSON.parse(ran.stdout);
}

function shellcheck(path: string): void {
  const ran = spawnSync('shellcheck', ['-S', 'warning', path], { encoding: 'utf8' });
  assert.equal(ran.status, 0, ran.stdout);
}

it('install --print: units that systemd-analyze verifies, without secrets; nothing is changed', async (b) => {
  const options = { cwd: oddFolder(b), env: { ...b.env, SINGLEPOLL_DIR: join(oddFolder(b), 'state') } };
  const command = ['--', ...node('polite.mjs', '%i', '$HOME', ';', 'a\nb', 'back\\', '')];
  const print = async (...words: string[]) => {
    const { code, stdout, stderr } = await b.run(['install', '--print', ...words, ...command], options);
    assert.equal(code, 0, stderr);
    assert.ok(!`${stdout}${stderr}`.includes(secretOf(b)));
    return { stdout, stderr };
  };
  for (const scope of ['--system', '--user']) {
    const lease = 'redis://user:geheim@127.0.0.1/1';
    const hook = 'https://hooks.slack.com/services/geheim';
    const secret = ['--lease', lease, '--alert-url', hook];
    const { stdout } = await print('--kind', 'systemd', scope, '--name', 'x', ...secret);
    assert.doesNotMatch(stdout, /geheim/);
    assert.match(
      stdout,
      /^# \S+\/x\.service\n# .*x\.env \(0600\) would hold: .*TELEGRAM_BOT_TOKEN.*SINGLEPOLL_LEASE, SINGLEPOLL_ALERT_URL/,
    );
    const path = b.file('x.service', stdout);
    assert.deepEqual(analyze(b, ['verify', ...(scope === '--user' ? ['--user'] : []), path]), {
      code: 0,
      text: '',
    });
    const exposure = Number(
      /exposure level for \S+: ([\d.]+)/.exec(analyze(b, ['security', '--offline=yes', path]).text)?.[1],
    );
    assert.ok(exposure < 9, `exposure ${exposure}: 9.6 is that of a unit without hardening`);
  }
  assert.match((await print('--kind', 'cron')).stdout, /^@reboot /m);
  assert.deepEqual(readdirSync(options.cwd), []);
});

it('install: refuses what would not start, what is not its own, and a token in the command', async (b) => {
  const install = (words: string[], env: Record<string, string> = b.env) =>
    b.run(['install', '--kind', 'systemd', '--user', '--name', 'x', ...words], { env });
  const { TELEGRAM_BOT_TOKEN: _, ...tokenless } = b.env;
  const path = join(b.dir, 'home/.config/systemd/user/x.service');
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, '[Service]\nExecStart=/bin/true\n');
  const refused: [Promise<Finished>, number, RegExp][] = [
    [install(['--', 'true']), 78, /x\.service is there already, and was not made by singlepoll/],
    [install([]), 78, /no command to run/],
    [install(['--', 'no-such-program']), 78, /no-such-program was not found/],
    [install(['--', 'true'], tokenless), 78, /no bot token/],
    [install(['--', 'true', b.token]), 78, /the command holds a bot token/],
    [install(['--with-env', 'NOT_THERE', '--', 'true']), 78, /not set here: NOT_THERE/],
    [install(['--system', '--', 'true']), 64, /exclude each other/],
    [b.run(['install', '--name', '../x', '--', 'true']), 64, /--name/],
    [b.run(['uninstall', '--name', 'x']), 0, /x is not installed/],
  ];
  for (const [run, code, words] of refused) {
    const ended = await run;
    assert.match(ended.stderr + ended.stdout, words);
    assert.equal(ended.code, code, ended.stderr);
    assert.ok(!ended.stderr.includes(secretOf(b)));
  }
  assert.equal(readFileSync(path, 'utf8'), '[Service]\nExecStart=/bin/true\n');
  assert.ok(!existsSync(join(b.stateDir, 'install')));
});

it('install: cron: one line among others, which a library reads and a shell runs; uninstall stops it', async (b) => {
  // The real crontab command, at a spool of its own.
  const spool = join(b.dir, 'spool');
  mkdirSync(spool);
  chownSync(spool, 0, statSync('/var/spool/cron/crontabs').gid);
  chmodSync(spool, 0o1730);
  const odd = `a "b" $HOME \`id\` \\n 100% 'c'\nsecond line  `;
  const options: StartOptions = {
    cwd: oddFolder(b),
    env: { ...b.env, SINGLEPOLL_DIR: join(oddFolder(b), 's'), ODD: odd },
  };
  const bound = 'mount --bind "$0" /var/spool/cron/crontabs && exec "$@"';
  const inSpool = async (words: string[], input = '') => {
    const file = b.file('input', input);
    const ran = b.spawn('unshare', ['--mount', 'sh', '-c', `${bound} <'${file}'`, spool, ...words], options);
    return { code: (await ran.exit()).code, stdout: ran.stdout(), stderr: ran.stderr() };
  };
  const singlepoll = (...words: string[]) => inSpool([process.execPath, '--', PROGRAM, ...words]);
  const table = async () => (await inSpool(['crontab', '-l'])).stdout;
  const others = '# mine\nMAILTO=me\n\n*/5 * * * * date +\\%s  # five \n@reboot /bin/true\n';
  assert.equal((await inSpool(['crontab', '-'], others)).code, 0);

  const install = ['install', '--kind', 'cron', '--name', 'a-bot', '--with-env', 'ODD', '--'];
  const installed = await singlepoll(...install, ...node('polite.mjs', 'first'));
  assert.equal(installed.code, 0, installed.stderr);
  const again = await singlepoll(...install, ...node('polite.mjs', '100% $HOME "q"'));
  assert.match(again.stdout, /^updated: a-bot/);
  const now = await table();
  assert.ok(now.startsWith(others), now);
  assert.equal(
    now.slice(others.length).trimEnd().split('\n').length,
    1,
    'one line, also after the second time',
  );

  const read = `import json,sys,crontab
jobs = [job for job in crontab.CronTab(tab=sys.stdin.read()) if 'a-bot' in job.render()]
print(json.dumps([[job.is_valid(), str(job.slices), job.command] for job in jobs]))`;
  const jobs = python(b, read, now) as [boolean, string, string][];
  assert.equal(jobs.length, 1);
  const [valid, when, command] = jobs[0] ?? [false, '', ''];
  assert.deepEqual([valid, when], [true, '@reboot']);
  const script = join(oddFolder(b), 's/install/a-bot.sh');
  shellcheck(script);

  // As cron runs it: a bare environment, and the percent signs without their backslashes.
  const bare = { HOME: '/', PATH: '/usr/bin:/bin', SHELL: '/bin/sh', LOGNAME: 'root' };
  const boot = b.spawn('/bin/sh', ['-c', command.replaceAll('\\%', '%')], { cwd: '/', env: bare });
  assert.equal((await boot.exit()).code, 0, boot.seen());
  assert.match(boot.stdout(), /polls: supervisor \d+/);
  const { supervisor, worker } = await b.status(options);
  assert.equal(supervisor?.cwd, options.cwd);
  const words = readFileSync(`/proc/${worker?.pid}/cmdline`, 'utf8').split('\0');
  assert.equal(words.at(-2), '100% $HOME "q"');
  assert.ok(environOf(worker?.pid ?? 0)?.includes(`ODD=${odd}`));
  await b.serves({ seen: () => logText(b) });

  const shown = await singlepoll('uninstall', '--name', 'a-bot', '--print');
  assert.match(shown.stdout, /would remove the line of a-bot in the crontab/);
  assert.equal(await table(), now);
  const gone = await singlepoll('uninstall', '--name', 'a-bot');
  assert.equal(gone.code, 0, gone.stderr);
  assert.match(gone.stdout, new RegExp(`stopped: supervisor ${supervisor?.pid}`));
  assert.equal(await table(), others, 'every other byte as it was');
  assert.deepEqual(readdirSync(join(oddFolder(b), 's/install')), []);
  await until('all to be gone', () => leftovers(b).length === 0);
});

xit('install --run-as: a user that may not read what the bot needs is told, with what, before anything is written', async (b) => {
  const program = copyProgram(join(b.dir, 'copy'));
  const args = ['install', '--kind', 'systemd', '--run-as', 'nobody', '--', PYTHON, b.file('bot.py', '')];
  const install = (...more: string[]) =>
    b.spawn(process.execPath, ['--', program, args[0]!, ...more, ...args.slice(1)], { env: b.env });
  chmodSync(b.file('.env', 'A=1\n'), 0o600);
  for (const [what, open] of [
    ['.env', 0o644],
    ['bot.py', 0o644],
    ['', 0o755],
  ] as const) {
    const path = join(b.project, what);
    chmodSync(path, 0o700);
    const run = install();
    await run.ends(78);
    assert.match(run.stderr(), /user nobody \(--run-as\) may not read/);
    assert.ok(run.stderr().includes(path), run.stderr());
    const shown = spawnSync('sh', ['-c', run.stderr().split('  → ')[1] ?? 'false'], { encoding: 'utf8' });
    assert.deepEqual(
      [shown.status, shown.stdout.includes(what || 'project')],
      [0, true],
      'the command that is shown works',
    );
    chmodSync(path, open);
  }
  const well = install('--print');
  await well.ends(0);
  assert.doesNotMatch(well.stderr(), /may not read/);
});
