// Containers: the example images as they are, compose, containers that share a network, a lease in Redis, read-only, without a shell, busybox.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bed, fixture } from '../support/bed.ts';
import { API, build, CONTAINER_ENV, openWorld, type World } from '../support/containers.ts';
import { pack } from '../support/packed.ts';
import { nodeBuild } from '../support/programs.ts';
import { until } from '../support/wait.ts';

/** A bot in each language; `/eat` takes all the memory there is. */
const NODE_BOT = `const { TELEGRAM_API_ROOT: root, TELEGRAM_BOT_TOKEN: token } = process.env;
process.on('SIGTERM', () => process.exit(0));
const eaten = [];
for (let offset = 0; ; ) {
  const url = root + '/bot' + token + '/getUpdates?timeout=10&poller=bot.' + process.pid + '&offset=' + offset;
  const answer = await fetch(url).then((it) => it.json()).catch(() => null);
  for (const { update_id, message } of answer?.result ?? []) {
    offset = update_id + 1;
    if (message?.text === '/eat') for (;;) eaten.push(Buffer.alloc(1 << 20, 1));
  }
}
`;
const PYTHON_BOT = `import json, os, urllib.request
root, token, offset = os.environ["TELEGRAM_API_ROOT"], os.environ["TELEGRAM_BOT_TOKEN"], 0
while True:
    url = "%s/bot%s/getUpdates?timeout=10&poller=bot.%d&offset=%d" % (root, token, os.getpid(), offset)
    for update in json.load(urllib.request.urlopen(url))["result"]:
        offset = update["update_id"] + 1
`;

const folder = mkdtempSync(join(tmpdir(), 'sp-containers-'));
const tag = (name: string) => `localhost/sp-${folder.slice(-6).toLowerCase()}-${name}`;
after(() => {
  const images = ['python', 'node', 'distroless', 'busybox'].map(tag);
  const env = { ...process.env, ...CONTAINER_ENV };
  spawnSync('podman', ['rmi', '--force', ...images], { env });
  spawnSync('podman', ['image', 'prune', '--force'], { env });
  rmSync(folder, { recursive: true, force: true });
});
const { path: TARBALL } = pack(folder);
const context = join(folder, 'context');
cpSync('examples', context, { recursive: true });
cpSync(TARBALL, join(context, 'singlepoll-0.1.0.tgz'));
const project = { name: 'bot', version: '1.0.0' };
for (const [name, text] of [
  ['bot.py', PYTHON_BOT],
  ['requirements.txt', '# none\n'],
  ['bot.js', NODE_BOT],
  ['package.json', JSON.stringify({ ...project, type: 'module' })],
  ['package-lock.json', JSON.stringify({ ...project, lockfileVersion: 3, packages: { '': project } })],
] as const)
  writeFileSync(join(context, name), text);
await build(context, 'Dockerfile', tag('python'));
await build(context, 'Dockerfile.node', tag('node'));

/** As compose.yaml runs them. */
const LOCKED = ['--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'];
const HOST = ['--network', 'host', '--env', `TELEGRAM_API_ROOT=${API.host}`];
const BRIDGE = ['--env', `TELEGRAM_API_ROOT=${API.bridge}`];
const exitOf = (world: World, name: string) =>
  world.podman('inspect', '--format', '{{.State.ExitCode}}', name);

for (const name of ['python', 'node'])
  test(`the example image, ${name}: polls, is healthy, crashes, stops in order; a refused token`, async (t) => {
    const world = await openWorld(t);
    const { podman, says, bot, b } = world;
    const it = await world.run([...LOCKED, ...BRIDGE, ...bot], tag(name));
    await says(it, /\[poll\] worker \d+ polls/);
    await podman('healthcheck', 'run', it);
    assert.match(await podman('exec', it, 'singlepoll', 'status'), /: polling/);
    const { worker } = JSON.parse(await podman('exec', it, 'singlepoll', 'status', '--json'));
    await podman('exec', it, 'node', '-e', `process.kill(${worker.pid}, 'SIGKILL')`);
    await says(it, /started, pid \d+ \(worker 2 of this run\)/);
    b.sandbox.text('still there?');
    await until('an answer to it', () => b.sandbox.polls().some(({ delivered }) => delivered.length > 0));
    await podman('stop', '--time', '30', it);
    assert.equal((await exitOf(world, it)).trim(), '0');
    assert.match(await world.logs(it), /SIGTERM; supervisor and worker have ended \(exit 0\)/);
    // tini makes 0 of what a restart would not cure.
    const wrong = await world.run(
      [...BRIDGE, '--env', `TELEGRAM_BOT_TOKEN=4711:${'A'.repeat(35)}`],
      tag(name),
    );
    await podman('wait', wrong);
    assert.match(await world.logs(wrong), /Unauthorized|refused/i);
    assert.equal((await exitOf(world, wrong)).trim(), '0');
  });

test('out of memory is told as that; a read-only root without /tmp, and without /dev/shm', async (t) => {
  const world = await openWorld(t);
  const { podman, tries, says, bot, b } = world;
  const small = await world.run([...LOCKED, ...BRIDGE, ...bot, '--memory', '200m'], tag('node'));
  await says(small, /\[poll\] worker \d+ polls/);
  b.sandbox.text('/eat');
  await says(small, /out of memory: the kernel has killed a process of this container/);
  await podman('rm', '--force', '--time', '0', small);
  const locked = [...LOCKED, '--read-only', '--read-only-tmpfs=false'];
  const it = await world.run([...locked, ...BRIDGE, ...bot], tag('python'));
  await says(it, /\[poll\] worker \d+ polls/);
  assert.match(await podman('exec', it, 'singlepoll', 'status'), /: polling/);
  // Its exit code is unknown: the container may end first, and with it what was run in it.
  assert.match((await tries('exec', it, 'singlepoll', 'stop')).text, /^stopped: /);
  await podman('wait', it);
  assert.equal((await exitOf(world, it)).trim(), '0');
  const without = await world.run([...locked, '-v', `${folder}:/dev/shm:ro`, ...BRIDGE, ...bot], tag('node'));
  await says(without, /\[poll\] worker \d+ polls/);
  assert.match(await world.logs(without), /runs without a state folder[\s\S]*kill \d+ {4}# ends it in order/);
  const stop = await tries('exec', without, 'singlepoll', 'stop');
  assert.equal(stop.code, 75);
  assert.match(stop.text, /without a state folder, so it takes no orders: pid \d+ .*\n {2}→ kill \d+/);
  const second = await tries('exec', without, 'singlepoll', 'start', '--', 'sleep', '9');
  assert.equal(second.code, 75, second.text);
  await podman('stop', '--time', '30', without);
  assert.equal((await exitOf(world, without)).trim(), '0');
});

test('a shared network: no order reaches another container, which is named; the host’s view', async (t) => {
  const mine = await openWorld(t);
  const other = await bed(t);
  mine.relay(other.sandbox, 9001);
  const { podman, tries, says, bot, b } = mine;
  const first = await mine.run([...HOST, ...bot], tag('node'));
  await says(first, /\[poll\] worker \d+ polls/);
  // Another bot beside it, whose processes have the same numbers.
  const beside = ['--network', `container:${first}`, '--env', 'SINGLEPOLL_HTTP=8081'];
  const others = ['TELEGRAM_API_ROOT=http://127.0.0.1:9001', `TELEGRAM_BOT_TOKEN=${other.token}`];
  const second = await mine.run([...beside, ...others.flatMap((it) => ['--env', it])], tag('node'));
  await says(second, /\[poll\] worker \d+ polls/);
  const asked = [...bot, '--env', `TELEGRAM_API_ROOT=${API.host}`];
  for (const words of [
    'stop',
    'start --takeover -- sleep 9',
    'start -- sleep 9',
    'reset --no-start',
    'status',
  ]) {
    const done = await tries('exec', ...asked, second, 'singlepoll', ...words.split(' '));
    assert.equal(done.code, words === 'status' ? 1 : 75, `${words}\n${done.text}`);
    assert.match(done.text, /in another pid namespace[\s\S]*where it runs, or stop that container/, words);
  }
  for (const name of [first, second])
    assert.match(await podman('exec', name, 'singlepoll', 'status'), /: polling/);

  const env = { ...b.env, TELEGRAM_API_ROOT: API.host };
  const program = join(process.cwd(), 'bin/singlepoll.js');
  const names = Object.entries(env).map(([key, value]) => `${key}=${value}`);
  const fromHost = (...words: string[]) =>
    mine.within('env', [...names, process.execPath, '--', program, ...words]);
  const commands = new Set<string>();
  for (const words of [['status'], ['stop'], ['start', '--', 'sleep', '9'], ['reset', '--no-start']]) {
    const { code, text } = await fromHost(...words);
    assert.ok(code === 75 || code === 1, text);
    commands.add(/podman stop \w+/.exec(text)?.[0] ?? text);
  }
  assert.equal(commands.size, 1, [...commands].join('\n'));
  const [command = ''] = commands;
  await podman(...command.split(' ').slice(1));
  assert.equal((await fromHost('status')).code, 3);
});

test('without a shell, and with busybox alone: polls, a crash, doctor, and its end with the first process', async (t) => {
  const root = join(folder, 'bare');
  for (const path of ['app', 'bin', 'lib64', 'usr/local/bin', 'lib/x86_64-linux-gnu'])
    mkdirSync(join(root, path), { recursive: true });
  const tree = '/var/cache/singlepoll-test/containers-1';
  const program = join(nodeBuild('22'), 'node');
  cpSync(program, join(root, 'usr/local/bin/node'), { dereference: true });
  const libraries = execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/\/\S*\.so\S*/g);
  for (const [path] of libraries) spawnSync('cp', ['-L', join(tree, path), join(root, path)]);
  cpSync(join(tree, 'usr/bin/busybox'), join(root, 'bin/busybox'));
  spawnSync('tar', ['-xzf', TARBALL, '-C', join(root, 'app'), '--strip-components=1']);
  writeFileSync(join(root, 'app/bot.mjs'), NODE_BOT);
  const file = fixture('containers/bare');
  const world = await openWorld(t);
  const { podman, tries, says, bot } = world;
  for (const name of ['distroless', 'busybox']) {
    await build(root, file, tag(name), name);
    const it = await world.run([...HOST, ...bot], tag(name));
    await says(it, /\[poll\] worker \d+ polls/);
    const singlepoll = ['exec', it, 'node', '--', '/app/bin/singlepoll.js'];
    const { worker } = JSON.parse(await podman(...singlepoll, 'status', '--json'));
    await podman('exec', it, 'node', '-e', `process.kill(${worker.pid}, 'SIGKILL')`);
    await says(it, /started, pid \d+ \(worker 2 of this run\)/);
    const { text } = await tries(...singlepoll, 'doctor', '/app');
    assert.match(text, name === 'busybox' ? /takes its worker along/ : /there is no \/bin\/sh/);
    await podman('stop', '--time', '20', it);
    assert.equal((await exitOf(world, it)).trim(), '0');
  }
});

test('compose: up, a second up, down; two containers with a lease in Redis take over', async (t) => {
  const world = await openWorld(t);
  const { b, within, podman, tries, says, bot } = world;
  const place = join(b.project, 'composed');
  cpSync(context, place, { recursive: true });
  writeFileSync(
    join(place, 'bot.env'),
    `BOT_TOKEN=${b.token}\nTELEGRAM_BOT_TOKEN=${b.token}\nTELEGRAM_API_ROOT=http://10.89.77.1:9000\n`,
  );
  const compose = async (...words: string[]) => {
    const done = await within('podman-compose', words, { cwd: place, ms: 120_000 });
    assert.equal(done.code, 0, done.text);
    return done.text;
  };
  const network = 'composed_default';
  await tries('network', 'rm', '--force', network);
  await podman('network', 'create', '--subnet', '10.89.77.0/24', network);
  await compose('up', '-d');
  try {
    await says('composed_bot_1', /\[poll\] worker \d+ polls/);
    await compose('up', '-d');
    assert.match(await podman('exec', 'composed_bot_1', 'singlepoll', 'status'), /: polling/);
  } finally {
    await compose('down');
    await podman('network', 'rm', '--force', network);
    await podman('rmi', '--force', 'localhost/composed_bot');
  }

  const redis = await world.run([], 'docker.io/library/redis:7');
  const address = (await podman('inspect', '--format', '{{.NetworkSettings.IPAddress}}', redis)).trim();
  const leased = [
    ...LOCKED,
    ...BRIDGE,
    ...bot,
    '--env',
    'SINGLEPOLL_LEASE=env:LEASE_URL',
    '--env',
    `LEASE_URL=redis://${address}`,
  ];
  const quick = ['--env', 'SINGLEPOLL_LEASE_TTL=3s'];
  const one = await world.run([...leased, ...quick], tag('python'));
  await says(one, /\[poll\] worker \d+ polls/);
  const two = await world.run([...leased, ...quick], tag('node'));
  await says(two, /\[lease\].*standing by/i);
  await podman('stop', '--time', '30', one);
  await says(two, /\[poll\] worker \d+ polls/);
  const three = await world.run([...leased, ...quick], tag('node'));
  await says(three, /\[lease\].*standing by/i);
  await podman('kill', '--signal', 'KILL', two);
  await says(three, /\[poll\] worker \d+ polls/);
});
