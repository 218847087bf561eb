// The systems that `npm run test:platforms` boots and runs in, made once by `npm run test:setup` and kept outside the checkout: trees by
// debootstrap from the mirror that apt uses. What can't be had is named here, and its suite fails without it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Where test/platforms looks for them: FOLDER/NAME-VERSION. Another list of packages takes another version. */
const FOLDER = '/var/cache/singlepoll-test';
const TREES = [
  {
    name: 'systemd-2',
    suite: 'systemd',
    packages: `systemd systemd-sysv dbus dbus-user-session libpam-systemd procps iproute2 util-linux dash passwd login cron
      openssh-server openssh-client sudo screen tmux ca-certificates libatomic1 curl python3-minimal`,
  },
  {
    name: 'containers-1',
    suite: 'containers',
    packages: 'ca-certificates libatomic1 python3 python3-pip redis-server tini busybox-static',
  },
];
/** What the examples are built on: no registry is asked, and another Containerfile takes another mark. */
const IMAGES = ['node:22-bookworm-slim', 'python:3.13-slim-bookworm', 'redis:7'];
const IMAGES_MARK = join(FOLDER, 'images-1');
const CONTAINERS = 'test/fixtures/containers';

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
    const words = ['--variant=minbase', `--include=${include}`, 'bookworm', half, mirror()];
    const made = spawnSync('debootstrap', words, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
    if (made.status === 0) renameSync(half, tree);
    else missing(tree, whyNot(made), suite);
  }
  if (existsSync(join(FOLDER, 'containers-1')) && !existsSync(IMAGES_MARK)) bringImages();
}

function bringImages() {
  console.error('making images (half a minute)');
  const own = (name) => resolve(CONTAINERS, `${name}.conf`);
  const env = {
    ...process.env,
    CONTAINERS_CONF: own('containers'),
    CONTAINERS_STORAGE_CONF: own('storage'),
    CONTAINERS_REGISTRIES_CONF: own('registries'),
  };
  const name = `node-${process.platform}-${process.arch}`;
  const node = resolve(`node_modules/.cache/singlepoll-test/${name}-22/node_modules/${name}/bin/node`);
  const script = `rm -rf "$2"; mkdir -p "$2/npm"
    echo >"$1/etc/apt/sources.list"
    tar -C "$1" --exclude=./{proc,sys,dev,var/cache/apt,var/lib/apt/lists}/\\* -cf - . |
      podman import - docker.io/library/debian:bookworm-slim
    cp "$3" "$2/node"
    (cd "$2" && npm pack --silent npm@10) && tar -xzf "$2"/npm-*.tgz -C "$2/npm" --strip-components=1
    for image in ${IMAGES.join(' ')}; do
      buildah bud --format docker --network host --isolation chroot --pull-never --target "\${image%%:*}" \
        --tag "docker.io/library/$image" --file ${CONTAINERS}/Containerfile "$2"
    done
    rm -rf "$2"; touch "$4"`;
  const files = [join(FOLDER, 'containers-1'), join(FOLDER, 'images.half'), node, IMAGES_MARK];
  const words = ['-euo', 'pipefail', '-c', script, '-', ...files];
  const made = spawnSync('bash', words, { env, encoding: 'utf8' });
  if (made.status !== 0) missing('images for podman', whyNot(made), 'containers');
}

const whyNot = ({ error, stderr }) => error?.message ?? stderr.trim().split('\n').slice(-3).join('\n  ');

function missing(what, why, suites) {
  console.error(`can’t be had: ${what}: ${why}\n  npm run test:platforms fails without: ${suites}`);
}

/** Debian's, as apt has it. */
function mirror() {
  const words = ['indextargets', '--format', '$(CODENAME) $(REPO_URI)'];
  const { stdout } = spawnSync('apt-get', words, { encoding: 'utf8' });
  return /^bookworm (http\S+)/m.exec(stdout ?? '')?.[1] ?? 'http://deb.debian.org/debian';
}
