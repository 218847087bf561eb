/**
 * The simulated machine: processes with parents, groups, sessions and start times; signals; pids that are used again as
 * soon as they are free. It knows the truth about every process (its `life`); the program under test never sees that.
 */
import type { Proc, ProcEnv, Snapshot } from '../../src/strays/process.ts';
import { sumUp } from '../../src/strays/processes.ts';
import { env as environment } from '../support/procs.ts';
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

/** What a process really is. All processes of one start of one program share a life. */
export interface Life {
  readonly id: number;
  readonly kind: 'stray' | 'worker' | 'innocent';
  readonly program: string;
  readonly bornMs: number;
  /** Which supervisor run and spawn a worker's process belongs to. */
  readonly run?: string;
  readonly spawn?: number;
  /** A service manager keeps it alive, and the machine can tell so. */
  readonly managed?: boolean;
  /** The living process that started it, where that is neither pid 1 nor part of it. */
  readonly startedBy?: number;
  /** It has no connection most of the time: it may stay unseen for long. */
  readonly shy?: boolean;
  /** A process of it ends at its n-th 409. */
  readonly conflictsMax?: number;
  /** Called when its last process has gone. */
  onGone?: () => void;
}

export interface Polls {
  readonly everyMs: number;
  readonly onMs: number;
  readonly phaseMs: number;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface Birth {
  readonly life: Life;
  ppid: number;
  readonly argv: readonly string[];
  readonly comm?: string;
  readonly cwd?: string;
  readonly uid?: number;
  readonly env?: Partial<ProcEnv>;
  readonly otherBots?: readonly string[];
  /** Polls our bot, however its token is hidden, whenever it is connected. */
  readonly reacts?: boolean;
  /** Group and session; default: those of the parent. */
  readonly own?: 'session' | 'group';
  /** From SIGTERM to its end; null: it is ignored. */
  readonly termMs?: number | null;
  /** From SIGKILL to its end; null: it sits in the kernel until the trouble ends. */
  killMs?: number | null;
  /** When it is connected to the API root. */
  readonly polls?: Polls | null;
  /** Belongs to a user whom we may not signal. */
  readonly denied?: boolean;
  readonly reapedByUs?: boolean;
  readonly pid?: number;
}

export interface Body extends Required<Omit<Birth, 'own' | 'env'>> {
  readonly pgid: number;
  readonly sid: number;
  readonly startId: string;
  readonly env: ProcEnv;
  state: 'S' | 'Z' | 'T';
  /** Starts something more when it is asked to end. */
  onTerm?: () => void;
  /** It ended; a leader of ours then stays as a zombie until it is reaped. */
  onEnd?: (ended: Ended) => void;
  /** Started by a process that was asked to end: nothing but its own acts shows what it belongs to. */
  orphan: boolean;
  leaving: boolean;
  killed: boolean;
  /** As it was last shown. */
  shown: Proc | null;
}

export const PROJECT = '/srv/bot';
/** What `--stray` is given. */
export const STRAY_PATTERN = /old_bot\d*\.py$/;
export const BOT_ID = '123456';

export type Machine = ReturnType<typeof createMachine>;

function show(body: Body): Proc {
  const { pid, ppid, pgid, sid, startId, state, comm } = body;
  const dead = state === 'Z';
  const names = STRAY_PATTERN.test(body.argv[1] ?? '') && body.argv[0]!.endsWith('python3');
  return {
    pid,
    ppid,
    pgid,
    sid,
    startId,
    state,
    comm,
    tty: 0,
    uid: dead ? -1 : body.uid,
    argv: dead ? [] : body.argv,
    cwd: dead ? null : body.cwd,
    env: dead ? null : body.env,
    ...{ tokenInArgs: false, otherBots: body.otherBots },
    match: dead || !names ? null : { pattern: STRAY_PATTERN.source, inScope: body.cwd === PROJECT },
  };
}

export function createMachine(clock: Clock, random: Random) {
  const bodies = new Map<number, Body>();
  const everybody: Body[] = [];
  const members = new Map<number, number>();
  let lives = 0;
  // Above the kernel's largest pid: the supervisor itself runs under the pid of this very process.
  let lastPid = 5_000_000;
  let starts = 0;

  const machine = {
    bodies: bodies as ReadonlyMap<number, Body>,
    /** A freed pid is given away at once with this chance. */
    reuseChance: 0,
    /** SIGKILL was sent to something that could not be ended just then; a signal was refused. */
    saw: { survivor: false, refusal: false },
    newLife: (life: Omit<Life, 'id' | 'bornMs'>): Life => ({ ...life, id: ++lives, bornMs: clock.now() }),
    start(birth: Birth): Body {
      const pid = birth.pid ?? ++lastPid;
      const parent = bodies.get(birth.ppid);
      const body: Body = {
        ...{ comm: birth.argv[0]!.slice(-15), cwd: '/', uid: 1000, otherBots: [], polls: null },
        ...{ reacts: birth.life.kind !== 'innocent', termMs: 1, killMs: 0, denied: false, reapedByUs: false },
        ...birth,
        pid,
        pgid: birth.own ? pid : (parent?.pgid ?? pid),
        sid: birth.own === 'session' ? pid : (parent?.sid ?? pid),
        startId: String(++starts),
        env: environment(birth.env),
        ...{ state: 'S', orphan: false, leaving: false, killed: false, shown: null },
      };
      bodies.set(pid, body);
      everybody.push(body);
      members.set(birth.life.id, (members.get(birth.life.id) ?? 0) + 1);
      return body;
    },
    /** Throws like process.kill: ESRCH, EPERM. */
    signal(pid: number, signal: string): void {
      const body = bodies.get(pid);
      if (!body) throw Object.assign(new Error('ESRCH'), { code: 'ESRCH' });
      machine.saw.refusal ||= body.denied;
      if (body.denied) throw Object.assign(new Error('EPERM'), { code: 'EPERM' });
      if (body.state === 'Z') return;
      if (signal === 'SIGCONT') {
        if (body.state === 'T') body.state = 'S';
        return;
      }
      if (signal === 'SIGKILL') {
        body.killed = true;
        machine.saw.survivor ||= body.killMs === null;
        if (body.killMs !== null) leave(body, body.killMs, signal);
        return;
      }
      body.onTerm?.();
      if (body.termMs !== null && !body.leaving) {
        body.leaving = true;
        leave(body, body.termMs, signal);
      }
    },
    end(body: Body, ended: Ended): void {
      if (body.state === 'Z' || bodies.get(body.pid) !== body) return;
      for (const child of bodies.values()) if (child.ppid === body.pid) child.ppid = 1;
      const left = members.get(body.life.id)! - 1;
      members.set(body.life.id, left);
      if (body.reapedByUs) body.state = 'Z';
      else machine.reap(body);
      body.onEnd?.(ended);
      if (left === 0) body.life.onGone?.();
    },
    reap(body: Body): void {
      if (bodies.get(body.pid) !== body) return;
      bodies.delete(body.pid);
      if (body.life.kind === 'innocent' || !random.chance(machine.reuseChance)) return;
      // As the kernel does, a pid is not given away while a group or session of that number lives.
      for (const other of bodies.values()) if (other.pgid === body.pid || other.sid === body.pid) return;
      const life = machine.newLife({ kind: 'innocent', program: 'took the pid' });
      machine.start({ life, ppid: 1, argv: ['/usr/bin/rsync', '--daemon'], own: 'session', pid: body.pid });
    },
    snapshot(): Snapshot {
      const procs = new Map<number, Proc>();
      for (const body of bodies.values()) {
        if (body.shown?.ppid !== body.ppid || body.shown.state !== body.state) body.shown = show(body);
        procs.set(body.pid, body.shown);
      }
      return { procs, uninspectable: sumUp([]) };
    },
    /** Also those that have ended. */
    everybody: (): readonly Body[] => everybody,
    /** Of all that ever had this pid. */
    livesOf: (pid: number): readonly Life[] =>
      everybody.filter((body) => body.pid === pid).map(({ life }) => life),
    living: (): Body[] => [...bodies.values()].filter((body) => body.state !== 'Z'),
    connected({ polls }: Body): boolean {
      if (!polls) return false;
      return (clock.now() + polls.phaseMs) % polls.everyMs < polls.onMs;
    },
  };

  function leave(body: Body, ms: number, signal: string): void {
    const ended: Ended = { code: null, signal };
    if (ms === 0) machine.end(body, ended);
    else clock.after(ms, () => machine.end(body, ended));
  }

  return machine;
}
