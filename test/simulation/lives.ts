/**
 * Who lives on the simulated machine beside the supervisor: strays of many kinds and innocents that look like them.
 * Everything here is the truth, written down at birth; what the program under test may see of it is machine.ts's part.
 */
import type { Clock } from './clock.ts';
import { type Birth, type Body, type Life, type Machine, type Polls, PROJECT } from './machine.ts';
import type { Random } from './random.ts';

export interface Surround {
  readonly clock: Clock;
  readonly random: Random;
  readonly machine: Machine;
  /** True once the trouble has ended: nothing is started again. */
  healed(): boolean;
  /** A person's shell with the token exported. */
  readonly shellPid: number;
}

type StrayProgram = ReturnType<typeof randomProgram>;

/** One stray program; it may live several times. */
export function randomProgram(number: number, { random }: Surround) {
  const rare = (probability: number) => random.chance(probability);
  const from = random.pick(['shell', 'shell', 'daemon', 'daemon', 'runner', 'manager', 'cron'] as const);
  return {
    name: `poller${number}`,
    proof: random.pick(['always', 'always', 'now and then', 'now and then', 'declared', 'hidden'] as const),
    shape: random.pick(['alone', 'alone', 'two', 'master', 'npm'] as const),
    from,
    stubborn: rare(0.25),
    unkillable: rare(0.04),
    denied: rare(0.04),
    /** It ends at its n-th 409. */
    conflictsMax: random.pick([null, null, null, 1, 2]),
    forksOnTerm: rare(0.1),
    /** How often `runner`, `manager` and `cron` start it again, and after how long. */
    returns: from === 'cron' ? random.int(1, 5) : from === 'runner' || from === 'manager' ? 1_000 : 0,
    returnMs: random.pick([0, 20, 300, 2_000, 9_000]),
    /** The process that starts it, for `runner`. */
    runnerPid: null as number | null,
  };
}

/** Starts one life of a stray program. */
export function startStray(program: StrayProgram, around: Surround): void {
  const { random } = around;
  // Two copies from one shell are two lives of the same program that never came back.
  const copies = program.shape === 'two' ? 2 : 1;
  for (let i = 0; i < copies; i++) bear(program, around, program.returns, random.int(0, 999));
}

function bear(program: StrayProgram, around: Surround, returns: number, phaseMs: number): void {
  const { machine, clock, shellPid } = around;
  if (around.healed()) return;
  if (program.from === 'runner' && program.runnerPid === null) {
    const life = machine.newLife({ kind: 'innocent', program: `runner of ${program.name}` });
    const argv = ['/usr/bin/python3', `/opt/run_${program.name}.py`];
    program.runnerPid = machine.start({ life, ppid: 1, argv, own: 'session' }).pid;
  }
  const ppid = program.from === 'shell' ? shellPid : program.from === 'runner' ? program.runnerPid! : 1;
  const life = machine.newLife({
    kind: 'stray',
    program: program.name,
    managed: program.from === 'manager',
    shy: program.proof === 'now and then',
    ...(ppid > 1 ? { startedBy: ppid } : {}),
    ...(program.conflictsMax === null ? {} : { conflictsMax: program.conflictsMax }),
  });
  if (returns > 0) {
    life.onGone = () => {
      clock.after(program.returnMs, () => bear(program, around, returns - 1, phaseMs));
    };
  }
  shape(program, life, ppid, phaseMs, around);
}

function shape(program: StrayProgram, life: Life, ppid: number, phaseMs: number, around: Surround): void {
  const { machine, random } = around;
  const declared = program.proof === 'declared';
  const script = declared ? `${PROJECT}/old_bot${program.name.slice(6)}.py` : `/srv/old/${program.name}.py`;
  const polls: Polls | null =
    declared && random.chance(0.5)
      ? null
      : program.proof === 'now and then'
        ? { everyMs: 2_700, onMs: 900, phaseMs }
        : { everyMs: 1_000, onMs: 1_000, phaseMs };
  const common = {
    life,
    cwd: declared ? PROJECT : '/srv/old',
    env: { holdsToken: program.proof !== 'declared' && program.proof !== 'hidden' },
    termMs: program.stubborn || program.unkillable ? null : random.pick([0, 1, 30]),
    killMs: program.unkillable ? null : random.pick([0, 0, 2]),
    ...(program.denied ? { denied: true, uid: 2000 } : {}),
  } as const;
  const python = ['/usr/bin/python3', script];
  const fork = (parent: Body, extra: { polls: Polls | null }) => {
    const child = machine.start({ ...common, ...extra, ppid: parent.pid, argv: python });
    if (program.forksOnTerm) arm(child, program, life, around);
    return child;
  };
  if (program.shape === 'master') {
    const master = machine.start({ ...common, ppid, argv: python, own: 'group' });
    fork(master, { polls });
    fork(master, { polls: random.chance(0.5) ? polls : null });
    return;
  }
  if (program.shape === 'npm') {
    const npm = machine.start({ ...common, ppid, argv: ['npm', 'start'], comm: 'npm start', own: 'group' });
    fork(npm, { polls });
    return;
  }
  const own = program.from === 'daemon' ? 'session' : 'group';
  const body = machine.start({ ...common, ppid, argv: python, own, polls });
  if (program.forksOnTerm) arm(body, program, life, around);
}

/** Asked to end, it starts one process more, once. */
function arm(body: Body, program: StrayProgram, life: Life, { machine }: Surround): void {
  let done = false;
  body.onTerm = () => {
    if (done) return;
    done = true;
    const { argv, cwd, env, polls } = body;
    const termMs = program.stubborn ? null : 5;
    machine.start({ life, ppid: body.pid, argv, cwd, env, polls, termMs }).orphan = true;
  };
}

/** Those that must never get a signal, each near to being a stray. */
export function startInnocents({ machine, random, shellPid }: Surround): void {
  const holder = { env: { holdsToken: true } };
  const typed = { ppid: shellPid, cwd: PROJECT };
  const polls = { everyMs: 10, onMs: 10, phaseMs: 0 };
  const now = (everyMs: number, onMs: number) => ({ polls: { everyMs, onMs, phaseMs: 0 } });
  const another = { bot: '999', run: 'elsewhere', spawn: '1' };
  const all: readonly (readonly [program: string, command: string, birth: Partial<Birth>])[] = [
    ['sleeper', '/usr/bin/python3 /srv/old/report.py', holder],
    // It can run a request as well.
    ['editor', `vim ${PROJECT}/old_bot1.py`, { ...holder, ...typed, ...now(500, 400) }],
    ['reader', `tail -f ${PROJECT}/old_bot1.py.log`, typed],
    ['out of scope', '/usr/bin/python3 /srv/other/old_bot7.py', { cwd: '/srv/other' }],
    ['other bot', '/usr/bin/python3 /srv/other/bot.py', { otherBots: ['999'], polls }],
    ['other worker', 'node /srv/other/worker.js', { otherBots: ['999'], env: another, polls }],
    ['our token, other worker', 'node /srv/other/both.js', { env: { ...another, holdsToken: true }, polls }],
    ['sender', '/usr/bin/python3 /srv/shop/orders.py', { ...holder, ...now(700, 600) }],
    ['proxy', 'squid -N', { reacts: true, polls }],
    ['cron job', '/bin/sleep 300', holder],
  ];
  for (const [program, command, birth] of all) {
    if (!random.chance(0.35)) continue;
    const life = machine.newLife({ kind: 'innocent', program });
    machine.start({ life, ppid: 1, argv: command.split(' '), own: 'session', ...birth });
  }
}

/** What the machine runs from the beginning; returns the person's shell. */
export function startSystem(machine: Machine): number {
  const life = (program: string) => machine.newLife({ kind: 'innocent', program });
  const init = { pid: 1, ppid: 0, argv: ['/sbin/init'], comm: 'systemd', uid: 0 };
  machine.start({ life: life('init'), own: 'session', ...init });
  const shell = { ppid: 1, argv: ['-bash'], env: { holdsToken: true }, cwd: PROJECT };
  return machine.start({ life: life('shell'), own: 'session', ...shell }).pid;
}
