// The files in examples/: what doctor says of them, whether their options mean something, and the entry point of the image, run.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Command } from 'commander';
import { parse, parseAllDocuments } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { addOptions, readFlags } from '../../src/config/options.ts';
import { studyProject } from '../../src/doctor/processes.ts';
import { findCauses } from '../../src/doctor/rules.ts';
import { node, randomToken } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { openFakeKubernetes } from '../support/fake-kubernetes.ts';
import { it } from '../support/kinds.ts';
import { storeOf, watching, write } from '../support/lease-bench.ts';
import { alive } from '../support/proc.ts';
import { projectOf } from '../support/project.ts';
import { freePort } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const example = (name: string): string => readFileSync(join('examples', name), 'utf8');

/** Bot and lists of packages as the Dockerfiles want them. */
const BOTS = {
  'bot.py': 'import os, telebot\nbot = telebot.TeleBot(os.environ["BOT_TOKEN"])\nbot.infinity_polling()\n',
  'requirements.txt': 'pyTelegramBotAPI\n',
  'bot.js': "import { Bot } from 'grammy';\nnew Bot(process.env.BOT_TOKEN).start();\n",
  'package.json': '{"type": "module", "dependencies": {"grammy": "^1"}}',
};

interface Image {
  env: Record<string, string>;
  entrypoint: string[];
  cmd: string[];
  healthcheck: string[];
  user: string;
}

/** The last stage of a Dockerfile, for the instructions that our examples use (in exec form). */
function image(text: string): Image {
  const lines = text
    .replace(/^\s*#.*\n/gm, '')
    .replace(/\\\n\s*/g, '')
    .split('\n');
  const stage = lines.slice(lines.findLastIndex((line) => line.startsWith('FROM ')) + 1);
  const last = (word: string) =>
    stage.findLast((line) => line.startsWith(`${word} `))?.slice(word.length + 1) ?? '';
  const words = (line: string) => JSON.parse(line.slice(line.indexOf('['))) as string[];
  const env = stage
    .filter((line) => line.startsWith('ENV '))
    .flatMap((line) => line.slice(4).split(' '))
    .map((pair) => pair.split('=') as [string, string]);
  return {
    env: Object.fromEntries(env),
    entrypoint: words(last('ENTRYPOINT')),
    cmd: words(last('CMD')),
    healthcheck: words(last('HEALTHCHECK')),
    user: last('USER'),
  };
}

const images = {
  Dockerfile: image(example('Dockerfile')),
  'Dockerfile.node': image(example('Dockerfile.node')),
};
const documents = parseAllDocuments(example('kubernetes.yaml')).map((it) => {
  assert.deepEqual(it.errors, []);
  return it.toJS();
});
const ofKind = (kind: string) => documents.find((it) => it.kind === kind);
const pod = ofKind('Deployment').spec.template.spec;
const compose = parse(example('compose.yaml')).services.bot;
const seconds = (text: string): number => Number(/^(\d+)s$/.exec(text)?.[1]);

test('doctor finds nothing in them, and would find what the lease in them is for', () => {
  const of = (names: string[], change: (text: string) => string = (text) => text) => {
    const files = Object.fromEntries(names.map((name) => [name, change(example(name))]));
    return findCauses(studyProject(projectOf({ ...BOTS, ...files }))).map(
      ({ rule, why }) => `${rule}: ${why}`,
    );
  };
  const all = ['Dockerfile', 'compose.yaml', 'kubernetes.yaml', 'Procfile'];
  for (const name of [...all, 'Dockerfile.node']) assert.deepEqual(of([name]), [], name);
  assert.deepEqual(of(['Dockerfile', 'compose.yaml', 'kubernetes.yaml']), []);
  const without = of(['kubernetes.yaml'], (text) => text.replace(/.*SINGLEPOLL_LEASE, .*\n/, ''));
  assert.equal(without.length, 1);
});

test('their options mean something, and nobody is killed before --stop-timeout is over', async () => {
  const { flags, words } = (() => {
    const line = /^worker: singlepoll start (.*)$/m.exec(example('Procfile'))?.[1]?.split(' ') ?? [];
    const command = addOptions(new Command().exitOverride(), 'start')
      .argument('[command...]')
      .passThroughOptions();
    command.parse(line, { from: 'user' });
    return { flags: readFlags(command), words: command.args };
  })();
  const inPod = Object.fromEntries(
    pod.containers[0].env
      .filter(({ value }: { value?: string }) => value !== undefined)
      .map((it: Record<string, string>) => [it.name, it.value]),
  );
  const rows = [
    { flags, words, env: { REDIS_URL: 'redis://127.0.0.1' }, kill: 30 },
    ...Object.values(images).map(({ env, cmd }) => ({
      flags: {},
      words: cmd,
      env,
      kill: seconds(compose.stop_grace_period),
    })),
    {
      flags: {},
      words: images.Dockerfile.cmd,
      env: { ...images.Dockerfile.env, ...inPod },
      kill: pod.terminationGracePeriodSeconds,
    },
  ];
  for (const { flags, words, env, kill } of rows) {
    const all = { ...env, BOT_TOKEN: randomToken() };
    const loaded = await loadConfig({
      command: 'start',
      flags,
      argvCommand: words,
      env: all,
      cwd: '/nonexistent',
    });
    assert.ok(loaded.ok, JSON.stringify(loaded));
    assert.deepEqual(loaded.warnings, []);
    assert.ok(
      loaded.config.stopTimeoutMs + 5_000 <= kill * 1_000,
      `${loaded.config.stopTimeoutMs} ms, killed after ${kill} s`,
    );
    assert.equal(loaded.config.lease !== null, 'SINGLEPOLL_LEASE' in env || 'lease' in flags);
  }
  for (const { user } of Object.values(images)) assert.ok(['bot', 'node'].includes(user));
  assert.equal(
    pod.containers[0].env.find((it: { name: string }) => it.name === 'SINGLEPOLL_HTTP').value,
    '0.0.0.0:8080',
  );
  assert.equal(pod.containers[0].readinessProbe.httpGet.path, '/readyz');
  assert.equal(pod.containers[0].livenessProbe.httpGet.path, '/healthz');
});

test('the Role allows what a lease asks of Kubernetes, and nothing more', async (t) => {
  const fake = await openFakeKubernetes();
  t.after(() => fake.close());
  const store = await storeOf(t, `k8s://bots/singlepoll-123456?server=http://127.0.0.1:${fake.port}`, 1);
  await write(store);
  await write(store);
  await watching(t, store);
  const verbs: Record<string, string> = { GET: 'get', POST: 'create', PUT: 'update' };
  const used = fake.requests.map(({ method, url }) => (url.includes('watch=1') ? 'watch' : verbs[method]));
  const { rules } = ofKind('Role');
  assert.deepEqual(
    [...new Set(used)].sort(),
    rules.flatMap((rule: { verbs: string[] }) => rule.verbs).sort(),
  );
  for (const rule of rules)
    assert.deepEqual([rule.apiGroups, rule.resources], [['coordination.k8s.io'], ['leases']]);
  const binding = ofKind('RoleBinding');
  assert.equal(binding.roleRef.name, ofKind('Role').metadata.name);
  assert.equal(binding.subjects[0].name, pod.serviceAccountName);
  assert.equal(ofKind('ServiceAccount').metadata.name, pod.serviceAccountName);
});

it('the entry point of the image: it polls, is healthy, stops in time; beside another poller tini says 0', async (b) => {
  symlinkSync(PROGRAM, join(b.dir, 'singlepoll'));
  chmodSync(PROGRAM, 0o755);
  const port = String(await freePort());
  const { env: own, entrypoint, healthcheck } = images.Dockerfile;
  const env = { ...b.env, ...own, SINGLEPOLL_HTTP: port, PATH: `${b.dir}:${process.env.PATH}` };
  const [tini = '', ...args] = [...entrypoint, ...node('polite.mjs')];
  const run = b.spawn(tini, args, { env });
  await run.waitFor(/\[poll\] worker \d+ polls/);
  const [program = '', ...check] = healthcheck.map((word) => word.replace('8080', port));
  assert.equal(spawnSync(program, check, { env }).status, 0);
  const second = b.spawn(tini, args, { env: { ...env, SINGLEPOLL_HTTP: String(await freePort()) } });
  assert.equal((await second.exit()).code, 0, second.seen());
  assert.match(second.stderr(), /another supervisor|holds the lock|already/i);
  await run.stop();
  assert.equal(spawnSync(program, check, { env }).status, 1);
  await until('the worker to be gone', () => b.journal().every(({ pid }) => !alive(pid)));
});
