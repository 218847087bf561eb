// PM2 of a pinned version, installed by npm into node_modules/.cache when it is first measured.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { adopt, cacheFolder, endAndWait, until, workerProgram } from '../scene.mjs';

export const name = 'PM2';
const VERSION = '7.0.4';

const folder = () => cacheFolder('pm2');
const program = () => join(folder(), 'node_modules/.bin/pm2');

/** Null when it can be measured, else what is missing. */
export function prepare() {
  const manifest = join(folder(), 'node_modules/pm2/package.json');
  if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).version === VERSION) return null;
  console.error(`installing pm2@${VERSION} into ${folder()}`);
  const words = ['install', '--prefix', folder(), '--no-audit', '--no-fund', '--no-save', `pm2@${VERSION}`];
  const install = spawnSync('npm', words, { stdio: ['ignore', 'ignore', 'inherit'] });
  return install.status === 0 ? null : `PM2 could not be installed: npm ${words.join(' ')}`;
}

export function create({ home, env: plain, words, output }) {
  const env = { ...plain, PM2_HOME: join(home, 'pm2'), PM2_DISCRETE_MODE: 'true' };
  const daemon = () => {
    const file = join(home, 'pm2/pm2.pid');
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : null;
  };
  const pm2 = (...of) => spawnSync(program(), of, { env, cwd: home, stdio: 'ignore' });
  return {
    async launch() {
      pm2(
        'start',
        workerProgram(),
        '--name',
        'w',
        '--interpreter',
        'none',
        '-o',
        output,
        '-e',
        `${output}.err`,
        '--',
        ...words,
      );
      adopt(await until('the PM2 daemon', daemon));
    },
    // Its min_uptime.
    settled: () => new Promise((resolve) => setTimeout(resolve, 1_200)),
    pids: () => [daemon()],
    status: [program(), ['list']],
    statusEnv: env,
    async close() {
      const pid = daemon();
      pm2('kill');
      if (pid !== null) await endAndWait(pid);
    },
  };
}
