/**
 * The smaller managers, told by their program on the stray's line: circus, forever, concurrently,
 * process-compose, overmind, daemon(1), OpenRC's supervise-daemon, and another user's singlepoll.
 * Those that start nothing again (foreman, honcho, nf, a bare concurrently) are not here.
 */
import type { Proc } from '../../strays/process.ts';
import { iniSections } from './ini.ts';
import { accountOf, ask, type Inquiry, respawner, type Verdict } from './inquiry.ts';
import { type Found, type Lineage, markOf, nearestAbove, optionOf, programOf, resolveIn } from './lineage.ts';
import { type Step, shellQuote } from './shell.ts';

interface Kind {
  readonly kind: string;
  test(proc: Proc, ownUid: number): boolean;
  /** What it calls the stray, and how it is told to stop it. */
  answer(found: Found, inquiry: Inquiry): Promise<{ name: string; steps: readonly Step[] }>;
}

const killed = (manager: Proc): Step => ({ words: ['kill', String(manager.pid)] });

/** For managers that answer SIGTERM by starting again (concurrently) or by leaving their child behind (forever). */
function killedWithTree({ manager }: Found, { lineage }: Inquiry): readonly Step[] {
  const tree = lineage.line.slice(0, lineage.line.indexOf(manager)).reverse();
  return [
    { words: ['kill', '-9', String(manager.pid)] },
    { words: ['kill', ...tree.map((proc) => String(proc.pid))] },
  ];
}

const KINDS: readonly Kind[] = [
  {
    kind: 'circus',
    test: (proc) => programOf(proc) === 'circusd' || proc.argv.includes('circus.circusd'),
    answer: async (found, inquiry) => {
      const endpoint = circusEndpoint(found.manager, inquiry);
      const reach = endpoint === null ? [] : ['--endpoint', endpoint];
      const name = await circusWatcher(found, reach, inquiry);
      const words = ['circusctl', ...reach, 'stop', ...(name === null ? [] : [name])];
      return { name: name ?? programOf(found.child), steps: [{ words }] };
    },
  },
  {
    kind: 'forever',
    test: (proc) =>
      programOf(proc) === 'forever' || proc.argv.some((word) => word.endsWith('/forever/bin/monitor')),
    answer: async (found, inquiry) => {
      const { manager, child } = found;
      const inBackground = manager.argv.some((word) => word.endsWith('/forever/bin/monitor'));
      const script = child.argv.find((word, at) => at > 0 && !word.startsWith('-')) ?? programOf(child);
      return {
        name: script,
        steps: inBackground ? [{ words: ['forever', 'stop', script] }] : killedWithTree(found, inquiry),
      };
    },
  },
  {
    kind: 'concurrently',
    test: (proc) => {
      if (
        programOf(proc) !== 'concurrently' &&
        !proc.argv.some((word) => /\/concurrently\/dist\/bin\//.test(word))
      )
        return false;
      const tries = optionOf(proc.argv, null, '--restart-tries');
      return tries !== null && tries !== '0';
    },
    answer: async (found, inquiry) => ({
      name: found.child.argv.at(-1) ?? programOf(found.child),
      steps: killedWithTree(found, inquiry),
    }),
  },
  {
    kind: 'process-compose',
    test: (proc) => programOf(proc) === 'process-compose',
    answer: async ({ manager, child }, inquiry) => {
      const name = markOf(inquiry.lineage, 'PC_PROC_NAME');
      const port = optionOf(manager.argv, '-p', '--port');
      const reach = port === null ? [] : ['-p', port];
      if (name === null) return { name: programOf(child), steps: [killed(manager)] };
      return { name, steps: [{ words: ['process-compose', ...reach, 'process', 'stop', name] }] };
    },
  },
  {
    kind: 'daemon',
    test: (proc) =>
      programOf(proc) === 'daemon' &&
      optionsOnly(proc).some((word) => word === '--respawn' || /^-[a-zA-Z]*r/.test(word)),
    answer: async ({ manager, child }) => {
      const options = optionsOnly(manager);
      const name = optionOf(options, '-n', '--name');
      if (name === null) return { name: programOf(child), steps: [killed(manager)] };
      const folder = optionOf(options, '-P', '--pidfiles');
      const file = optionOf(options, '-F', '--pidfile');
      const where = [
        ...(folder === null ? [] : [`--pidfiles=${folder}`]),
        ...(file === null ? [] : [`--pidfile=${file}`]),
      ];
      return { name, steps: [{ words: ['daemon', `--name=${name}`, ...where, '--stop'] }] };
    },
  },
  {
    kind: 'openrc',
    test: (proc) => programOf(proc) === 'supervise-daemon' || proc.comm === 'supervise-daemo',
    answer: async ({ manager }) => {
      const name = manager.argv.slice(1).find((word) => !word.startsWith('-')) ?? '';
      const stop = { words: ['rc-service', name, 'stop'] };
      return { name, steps: [stop, { words: ['rc-update', 'del', name] }] };
    },
  },
  {
    kind: 'singlepoll',
    // Of our own account there is but one, and its lock is what speaks for it.
    test: (proc, ownUid) =>
      proc.uid !== ownUid && /^singlepoll(?:\.c?js)?$/.test(programOf(proc)) && proc.argv.includes('start'),
    answer: async ({ manager }, inquiry) => {
      const folder = manager.cwd === null ? '' : `cd ${shellQuote(manager.cwd)} && `;
      const bot = inquiry.lineage.stray.env?.bot ?? programOf(inquiry.lineage.stray);
      return { name: bot, steps: [{ words: ['sh', '-c', `${folder}singlepoll stop`] }] };
    },
  },
];

export interface OtherSuspicion {
  readonly kind: string;
  readonly found: Found;
}

/** The nearest of the smaller managers above the stray. */
export function suspectOther(lineage: Lineage, ownUid: number): OtherSuspicion | null {
  const kindOf = (proc: Proc) => KINDS.find((kind) => kind.test(proc, ownUid));
  // One that belongs to the stray's tree, having nothing else to run, is stopped with it.
  const inTree = lineage.line.slice(0, lineage.line.indexOf(lineage.treeTop) + 1);
  const found = nearestAbove(lineage, (proc) => kindOf(proc) !== undefined && !inTree.includes(proc));
  return found === null ? null : { kind: kindOf(found.manager)!.kind, found };
}

/** Its name for the stray and its stop command. */
export async function nameOther(suspicion: OtherSuspicion, inquiry: Inquiry): Promise<Verdict> {
  const kind = KINDS.find((candidate) => candidate.kind === suspicion.kind)!;
  const { name, steps } = await kind.answer(suspicion.found, inquiry);
  return respawner(inquiry, kind.kind, name, steps, await accountOf(inquiry, suspicion.found.manager.uid));
}

/** Arguments before the `--` that starts the command of the child. */
function optionsOnly(proc: Proc): readonly string[] {
  const end = proc.argv.indexOf('--');
  return proc.argv.slice(1, end === -1 ? undefined : end);
}

function circusEndpoint(daemon: Proc, inquiry: Inquiry): string | null {
  const config = circusConfig(daemon);
  const configured =
    config === null ? undefined : iniSections(config, inquiry.ctx).get('circus')?.get('endpoint');
  return configured ?? null;
}

function circusConfig(daemon: Proc): string | null {
  const file = daemon.argv.slice(1).find((word) => word.endsWith('.ini') || word.endsWith('.conf'));
  return file === undefined ? null : resolveIn(daemon.cwd, file);
}

/** The watcher that says the child's pid is its own; the only one of the configuration where nobody answers. */
async function circusWatcher(
  found: Found,
  reach: readonly string[],
  inquiry: Inquiry,
): Promise<string | null> {
  const config = circusConfig(found.manager);
  const sections = config === null ? [] : [...iniSections(config, inquiry.ctx).keys()];
  const names = sections
    .filter((title) => title.startsWith('watcher:'))
    .map((title) => title.slice('watcher:'.length));
  if (names.length <= 1) return names[0] ?? null;
  for (const name of names) {
    const pids = await ask(inquiry, 'circusctl', [...reach, 'list', name]);
    if (pids?.split(/[\s,]+/).includes(String(found.child.pid))) return name;
  }
  return null;
}
