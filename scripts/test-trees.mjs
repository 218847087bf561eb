// The systems that `npm run test:platforms` boots and runs in, made once by `npm run test:setup` and kept outside the checkout: trees by
// debootstrap from the mirror that apt uses. What can't be had is named here, and its suite fails without it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Where test/platforms looks for them: FOLDER/NAME-VERSION. Another list of packages takes another version. */
export const FOLDER = '/var/cache/singlepoll-test';
const TREES = [
  {
    name: 'systemd-1',
    suite: 'systemd',
    packages: `systemd systemd-sysv dbus dbus-user-session libpam-systemd procps iproute2 util-linux dash passwd login cron
      openssh-server openssh-client sudo tmux ca-certificates libatomic1 curl python3-minimal`,
  },
];

/** Makes what is missing; says what can't be had, and why. */
export function bringTrees() {
  if (process.platform !== 'linux' || process.getuid() !== 0)
    return missing('trees and images', 'they take Linux and root', 'systemd, containers');
  mkdirSync(FOLDER, { recursive: true });
  for (const { name, suite, packages } of TREES) {
    const tree = join(FOLDER, name);
    if (existsSync(tree)) continue;
    console.error(`making ${tree} (some two minutes)`);
    const half = `${tree}.half`;
    rmSync(half, { recursive: true, force: true });
    const include = packages.trim().split(/\s+/).join(',');
    const made = spawnSync(
      'debootstrap',
      ['--variant=minbase', `--include=${include}`, 'bookworm', half, mirror()],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
        encoding: 'utf8',
      },
    );
    if (made.status === 0) renameSync(half, tree);
    else missing(tree, made.error?.message ?? made.stderr.trim(), suite);
  }
}

function missing(what, why, suites) {
  console.error(`can’t be had: ${what}: ${why}\n  npm run test:platforms fails without: ${suites}`);
}

/** Debian's, as apt has it. */
function mirror() {
  const asked = spawnSync('apt-get', ['indextargets', '--format', '$(CODENAME) $(REPO_URI)'], {
    encoding: 'utf8',
  });
  return /^bookworm (http\S+)/m.exec(asked.stdout ?? '')?.[1] ?? 'http://deb.debian.org/debian';
}
