/** A machine with systemd as PID 1 (systemd-nspawn), with the packed program installed in it and the test's Bot API at 127.0.0.1:9000. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Bed, bed, fixture } from './bed.ts';
import { relayToPort } from './socket-relay.ts';
import { until } from './wait.ts';

const TREE = '/var/cache/singlepoll-test/systemd-2';

export type Guest = Awaited<ReturnType<typeof bootGuest>>;

/** What any bot in it is configured with. */
const apiOf = ({ token }: Pick<Bed, 'token'>): string =>
  `TELEGRAM_API_ROOT=http://127.0.0.1:9000\nTELEGRAM_BOT_TOKEN=${token}\n`;

export async function bootGuest(t: TestContext, tarball: string) {
  assert.ok(existsSync(TREE), `${TREE} is missing: npm run test:setup, as root`);
  const b = await bed(t);
  const [share, upper] = [join(b.dir, 'share'), join(b.dir, 'upper')];
  for (const path of [
    share,
    join(upper, 'usr/local/bin'),
    join(upper, 'srv/bot'),
    join(upper, 'etc/systemd/system'),
  ])
    mkdirSync(path, { recursive: true });
  cpSync(process.execPath, join(upper, 'usr/local/bin/node'));
  mkdirSync(join(upper, 'usr/local/lib/singlepoll'), { recursive: true });
  spawnSync('tar', [
    '-xzf',
    tarball,
    '-C',
    join(upper, 'usr/local/lib/singlepoll'),
    '--strip-components=1',
    '--no-same-owner',
  ]);
  spawnSync('ln', ['-s', '../lib/singlepoll/bin/entry.sh', join(upper, 'usr/local/bin/singlepoll')]);
  cpSync(fixture('workers'), join(upper, 'opt/workers'), { recursive: true });
  writeFileSync(join(upper, 'srv/bot/.env'), apiOf(b), { mode: 0o600 });
  cpSync(fixture('relay-to-socket.mjs'), join(upper, 'opt/relay.mjs'));
  writeFileSync(
    join(upper, 'etc/systemd/system/api.service'),
    '[Service]\nExecStart=node /opt/relay.mjs /mnt/api 9000 127.0.0.1\nRestart=always\n[Install]\nWantedBy=basic.target\n',
  );
  const relay = relayToPort(join(share, 'api'), b.sandbox.port);
  const name = `sp-guest-${b.cookie.slice(0, 8)}`;
  t.after(async () => {
    relay.close();
    // By now all of it is ended, and with it whoever would have removed its cgroups.
    const own = `/sys/fs/cgroup/${name}`;
    const clean = `umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; [ ! -d ${own} ] || find ${own} -depth -type d -exec rmdir {} +`;
    const isClean = () =>
      spawnSync('unshare', ['--mount', 'sh', '-c', clean], { stdio: 'ignore' }).status === 0;
    await until('its cgroups to be gone', isClean);
  });
  const machine = b.spawn('sh', [fixture('guest.sh'), TREE, b.dir, name]);

  /** PID 1 of the guest: the child of nspawn. */
  function init(): number | null {
    const childOf = (pid: number) =>
      Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')[0]) || null;
    try {
      const nspawn = childOf(childOf(machine.pid) ?? 0);
      return nspawn && childOf(nspawn);
    } catch {
      return null;
    }
  }

  /** Runs a script of bash in it, as root, outside of any unit. */
  async function tries(script: string, ms?: number) {
    const pid = init();
    if (pid === null) return { code: null, text: `the guest does not run\n${machine.seen()}` };
    const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    const own = ['-i', `PATH=${path}`, 'HOME=/root', 'LANG=C.UTF-8', 'SYSTEMD_PAGER='];
    const enter = ['nsenter', '-t', String(pid), '-m', '-u', '-i', '-n', '-p', '-C', '-r', '-w', '--'];
    const ran = b.spawn('env', [...own, ...enter, 'bash', '-c', script]);
    const { code } = await ran.exit(ms);
    return { code, text: ran.stdout() + ran.stderr() };
  }

  /** The same; it must end with 0. */
  async function run(script: string): Promise<string> {
    const { code, text } = await tries(script);
    assert.equal(code, 0, `${script}\n${text}`);
    return text;
  }
  const isUp = async () => (await tries('systemctl is-active multi-user.target')).code === 0;
  await until('the guest to be up', isUp, machine);
  // What makes the address answer.
  await run(`systemctl enable --now --quiet api
    mkdir -p ~/.ssh; ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
    until (echo > /dev/tcp/127.0.0.1/9000) 2>/dev/null; do sleep 0.1; done`);
  return {
    ...{ b, tries, run },
    /** A script of `user` in a login by ssh, which ends with it. */
    login: (user: string, script: string) =>
      tries(`ssh -o StrictHostKeyChecking=no -o LogLevel=ERROR ${user}@127.0.0.1 ${quote(script)}`),
    /** A property of a unit. */
    show: async (unit: string, property: string) =>
      (await tries(`systemctl show -p ${property} --value ${unit}`)).text.trim(),
    async reboot(): Promise<void> {
      const before = init();
      await tries('systemctl reboot');
      await until('the guest to have gone down', () => init() !== before, machine);
      await until('the guest to be up', isUp, machine);
    },
  };
}

/** A user who may log in by ssh, with a bot of the test in his home. */
export async function addUser({ run, b }: Guest, name: string): Promise<void> {
  await run(`useradd -m -s /bin/bash ${name}
    install -d -o ${name} ~${name}/.ssh; install -o ${name} ~/.ssh/id_ed25519.pub ~${name}/.ssh/authorized_keys
    printf %s ${quote(apiOf(b))} > ~${name}/.env; chown ${name} ~${name}/.env; chmod 600 ~${name}/.env`);
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
