import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  answerOf,
  type Expected,
  INIT,
  type PaperMachine,
  type PaperProc,
} from '../support/respawner-world.ts';

const ID = 'c0ffee12'.repeat(8);
const POD = '5f1e7a3c-0c1b-4f4e-9a51-0123456789ab';
const bot: PaperProc = { pid: 70, ppid: 1, argv: ['python3', 'bot.py'] };
const shim: PaperProc = {
  pid: 40,
  ppid: 1,
  argv: ['/usr/bin/containerd-shim-runc-v2', '-id', ID],
  comm: 'containerd-shim',
};
const inDocker: PaperProc = { ...bot, ppid: 40 };
const dockerPath = `/system.slice/docker-${ID}.scope`;
const SHOW =
  'show --no-pager -p Id,LoadState,ActiveState,MainPID,Restart,UnitFileState,Transient,TriggeredBy,FragmentPath,SourcePath --';

const shown = (changes: Record<string, string> = {}) =>
  Object.entries({
    Id: 'bot.service',
    LoadState: 'loaded',
    ActiveState: 'active',
    MainPID: '70',
    Restart: 'on-failure',
    UnitFileState: 'enabled',
    ...changes,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');

const inspected = (more: { policy?: string; labels?: Record<string, string>; pid?: number }) =>
  JSON.stringify([
    {
      Name: '/tg-bot',
      State: { Pid: more.pid ?? 70 },
      HostConfig: { RestartPolicy: { Name: more.policy ?? 'always' } },
      Config: { Labels: more.labels ?? {} },
    },
  ]);

const docker = (
  more: Parameters<typeof inspected>[0],
  changes: Partial<PaperMachine> = {},
): PaperMachine => ({
  procs: [INIT, shim, inDocker],
  cgroups: { 70: dockerPath },
  tools: { [`docker inspect ${ID}`]: inspected(more) },
  ...changes,
});

const STOP: Expected = ['systemd', 'bot.service', 'systemctl disable --now bot.service'];

const CASES: readonly (readonly [string, PaperMachine, Expected])[] = [
  [
    'docker, confirmed',
    docker({}),
    ['docker', 'tg-bot', 'docker update --restart=no tg-bot && docker stop tg-bot'],
  ],
  [
    'docker that we may not ask',
    docker({}, { tools: {}, ownUid: 1000 }),
    [
      'docker',
      ID.slice(0, 12),
      `sudo docker update --restart=no ${ID.slice(0, 12)} && sudo docker stop ${ID.slice(0, 12)}`,
    ],
  ],
  [
    'docker with the cgroupfs driver',
    docker({}, { cgroups: { 70: `3:cpu:/docker/${ID}\n2:pids:/docker/${ID}\n` } }),
    ['docker', 'tg-bot', 'docker update --restart=no tg-bot && docker stop tg-bot'],
  ],
  ['docker with restart policy no', docker({ policy: 'no' }), null],
  ['our own container', docker({}, { ownCgroup: dockerPath }), null],
  ['started by hand in a container', docker({ pid: 71 }), null],
  [
    'started by hand in a container whose engine does not answer',
    docker(
      {},
      { tools: {}, procs: [INIT, shim, { pid: 60, ppid: 40, argv: ['bash'], tty: 7 }, { ...bot, ppid: 60 }] },
    ),
    null,
  ],
  [
    'docker compose',
    docker({ labels: { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'bot' } }),
    ['docker compose', 'shop/bot', 'docker compose -p shop stop bot'],
  ],
  [
    'docker swarm',
    docker({ policy: 'no', labels: { 'com.docker.swarm.service.name': 'shop_bot' } }),
    ['docker swarm', 'shop_bot', 'docker service scale shop_bot=0'],
  ],
  [
    'a unit that runs `docker run` in its foreground',
    docker(
      { policy: 'no' },
      {
        procs: [
          INIT,
          { pid: 30, ppid: 1, argv: ['/usr/bin/docker', 'run', '--rm', '--name', 'tg-bot', 'image'] },
          shim,
          inDocker,
        ],
        cgroups: { 70: dockerPath, 30: '/system.slice/bot.service' },
      },
    ),
    STOP,
  ],
  [
    'supervisord in a container that we are not in',
    docker(
      {},
      {
        procs: [
          INIT,
          shim,
          { pid: 60, ppid: 40, argv: ['python3', '/usr/bin/supervisord', '-n'], cwd: '/' },
          { ...bot, ppid: 60, uid: 1000, marks: { SUPERVISOR_PROCESS_NAME: 'bot' } },
        ],
      },
    ),
    ['supervisord', 'bot', "docker exec tg-bot sh -c 'supervisorctl stop bot'"],
  ],
  [
    'systemd in a container that we are not in',
    docker({}, { cgroups: { 70: `${dockerPath}/system.slice/bot.service` } }),
    ['systemd', 'bot.service', "docker exec tg-bot sh -c 'systemctl disable --now bot.service'"],
  ],
  [
    'rootless podman of another user',
    {
      procs: [INIT, { pid: 40, ppid: 1, argv: ['/usr/bin/conmon'], comm: 'conmon', uid: 1000 }, inDocker],
      cgroups: {
        70: `/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-${ID}.scope/container`,
      },
      tools: { 'id -nu 1000': 'alice\n', [`su -s /bin/sh alice -c podman inspect ${ID}`]: inspected({}) },
    },
    ['podman', 'tg-bot', "su -s /bin/sh alice -c 'podman stop tg-bot'"],
  ],
  [
    'a quadlet: podman under a generated unit',
    {
      procs: [INIT, { pid: 40, ppid: 1, argv: ['/usr/bin/conmon'], comm: 'conmon' }, inDocker],
      cgroups: { 70: `/system.slice/bot.service/libpod-payload-${ID}` },
      tools: {
        [`env podman inspect ${ID}`]: inspected({
          policy: '',
          labels: { PODMAN_SYSTEMD_UNIT: 'bot.service' },
        }),
        [`systemctl ${SHOW} bot.service`]: shown({ MainPID: '40', UnitFileState: 'generated' }),
      },
    },
    ['systemd', 'bot.service', 'systemctl mask --now bot.service'],
  ],
  [
    'podman without a label, split from a unit',
    {
      procs: [INIT, { pid: 40, ppid: 1, argv: ['/usr/bin/conmon'], comm: 'conmon' }, inDocker],
      cgroups: { 70: `/system.slice/bot.service/libpod-payload-${ID}` },
      tools: {
        [`env podman inspect ${ID}`]: inspected({ policy: '' }),
        [`systemctl ${SHOW} bot.service`]: shown({ MainPID: '40' }),
      },
    },
    STOP,
  ],
  [
    'a pod, named by crictl: its deployment',
    {
      procs: [INIT, shim, inDocker],
      cgroups: {
        70: `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${POD.replaceAll('-', '_')}.slice/cri-containerd-${ID}.scope`,
      },
      tools: {
        [`crictl inspect ${ID}`]: JSON.stringify({
          status: {
            labels: {
              'io.kubernetes.pod.name': 'bot-7d9f8b6c5d-x2x4z',
              'io.kubernetes.pod.namespace': 'prod',
            },
          },
        }),
      },
    },
    ['kubernetes', 'prod/bot-7d9f8b6c5d-x2x4z', 'kubectl -n prod scale deployment/bot --replicas=0'],
  ],
];

for (const [title, machine, expected] of CASES) {
  test(title, async () => assert.deepEqual(await answerOf(machine), expected));
}

test('a pod that nobody here can name: the command finds it', async () => {
  const answer = await answerOf({
    procs: [INIT, shim, inDocker],
    cgroups: { 70: `9:pids:/kubepods/besteffort/pod${POD}/${ID}\n` },
  });
  assert.deepEqual(answer?.slice(0, 2), ['kubernetes', `pod ${POD}`]);
  assert.match(answer![2], new RegExp(`^kubectl get pods -A -o 'jsonpath=.*${POD}`));
});
