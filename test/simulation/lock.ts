/**
 * The election of the lock (src/lock/election.ts) among starters that freeze, die, end and come again, with a squatter that
 * comes and goes. Every effect is one step of a process, and a seeded generator picks whose step is
 * next; after each the judge counts the supervisors. At the end all trouble stops, and somebody has to get the lock.
 */
import { type Candidate, elect, type Shown } from '../../src/lock/election.ts';
import { createRandom } from './random.ts';
import { createStory, type Outcome } from './story.ts';

const NAMES = 4;
const SILENT_MS = 2_000;
const PATIENCE_MS = 6_000;
const STEPS_MAX = 4_000;

interface Process {
  readonly title: string;
  readonly kind: 'supervisor' | 'liar' | 'mute';
  alive: boolean;
  frozenUntilMs: number;
  /** It supervises a worker. */
  runs: boolean;
  readonly sockets: Set<Socket>;
}

interface Socket {
  readonly name: number;
  readonly owner: Process;
  listening: boolean;
  holds: boolean;
}

interface Step {
  readonly by: Process;
  readonly atMs: number;
  readonly run: () => void;
}

export async function runSeed(seed: number): Promise<Outcome> {
  const random = createRandom(seed);
  const { say, count, fail, violations, outcome } = createStory(() => nowMs);
  const names: (Socket | null)[] = Array.from({ length: NAMES }, () => null);
  const processes: Process[] = [];
  let steps: Step[] = [];
  let nowMs = 0;

  const tell = (by: Process, text: string) => say(`${by.title} ${text}`);
  const soon = () => random.int(0, random.chance(0.1) ? 400 : 4);

  function spawn(title: string, kind: Process['kind']): Process {
    const it = { title, kind, alive: true, frozenUntilMs: 0, runs: false, sockets: new Set<Socket>() };
    processes.push(it);
    return it;
  }

  /** Resolves when the process has got so far; never when it has died. */
  function step(by: Process, afterMs = soon()): Promise<void> {
    return new Promise((resolve) => {
      if (by.alive) steps.push({ by, atMs: nowMs + afterMs, run: resolve });
    });
  }

  function close(socket: Socket): void {
    if (names[socket.name] === socket) names[socket.name] = null;
    socket.owner.sockets.delete(socket);
  }

  function end(it: Process, how: string): void {
    if (!it.alive) return;
    tell(it, how);
    it.alive = false;
    it.runs = false;
    for (const socket of it.sockets) close(socket);
    steps = steps.filter(({ by }) => by !== it);
  }

  function bindNow(by: Process, name: number, listening: boolean): Socket | null {
    if (names[name]) return null;
    const socket = { name, owner: by, listening, holds: false };
    names[name] = socket;
    by.sockets.add(socket);
    tell(by, `binds ${name}`);
    return socket;
  }

  /** As lock-look.ts does: one list of what is bound, then a question to each. */
  async function look(by: Process, mine: number | null): Promise<readonly { readonly shown: Shown }[]> {
    await step(by);
    const bound = names.map((socket) => socket !== null);
    const shown = await Promise.all(
      bound.map(async (is, name): Promise<Shown> => {
        if (name === mine) return 'holder';
        return is ? await ask(by, name) : 'free';
      }),
    );
    tell(by, `sees ${shown.map((what, name) => (name === mine ? 'mine' : what)).join(', ')}`);
    return shown.map((it) => ({ shown: it }));
  }

  async function ask(by: Process, name: number): Promise<Shown> {
    const giveUpAtMs = nowMs + SILENT_MS;
    for (let closed = 0; ; ) {
      await step(by);
      const socket = names[name];
      if (!socket) return 'free';
      if (!socket.listening) {
        if (nowMs > giveUpAtMs) return 'silent';
        await step(by, 5);
        continue;
      }
      const patience = () => step(by, SILENT_MS).then(() => 'silent' as const);
      const answer = await Promise.race([answerOf(socket), patience()]);
      if (answer !== 'closed') {
        // What was answered takes a while to arrive.
        await step(by);
        return answer;
      }
      closed += 1;
      if (closed === 10) return 'silent';
      await step(by, 10 * closed);
    }
  }

  async function answerOf(socket: Socket): Promise<Shown | 'closed'> {
    const { owner } = socket;
    if (owner.kind === 'mute') return await new Promise(() => {});
    await Promise.race([step(owner), gone(socket)]);
    if (!owner.sockets.has(socket)) return 'closed';
    if (owner.kind === 'liar') return 'liar';
    return socket.holds ? 'holder' : 'contender';
  }

  const watchers: { socket: Socket; done: () => void }[] = [];
  function gone(socket: Socket): Promise<void> {
    return new Promise((done) => watchers.push({ socket, done }));
  }

  function portsOf(by: Process, giveUpAtMs: number) {
    return {
      async bind(name: number): Promise<Candidate | null> {
        await step(by);
        const socket = bindNow(by, name, false);
        if (!socket) return null;
        await step(by, 0);
        socket.listening = true;
        return {
          name,
          hold() {
            socket.holds = true;
            by.runs = true;
            tell(by, `holds the lock at ${name}`);
            count(name === 0 ? 'held at the first name' : 'held at another name');
          },
          release() {
            tell(by, `lets go of ${name}`);
            close(socket);
          },
        };
      },
      look: (mine: number | null) => look(by, mine),
      pause: (round: number) => step(by, Math.min(50, 2 + 2 * round)),
      late: () => nowMs > giveUpAtMs,
    };
  }

  /** One start. */
  async function start(by: Process): Promise<'held' | 'left' | 'lost'> {
    const outcome = await elect(portsOf(by, nowMs + PATIENCE_MS));
    if (outcome.held) return 'held';
    if (by.sockets.size > 0) fail(`${by.title} yields and keeps a name`);
    const what = outcome.to === null ? null : outcome.seen[outcome.to]?.shown;
    count(what ? `left to ${what}` : 'nobody to leave it to');
    tell(by, `yields: ${what ?? 'nobody'}`);
    return what ? 'left' : 'lost';
  }

  async function life(by: Process): Promise<void> {
    for (;;) {
      if ((await start(by)) === 'held') {
        await step(by, random.int(1, 3_000));
        if (random.chance(0.6)) return end(by, 'ends in order');
        // `--takeover` asks for it: without a worker it stands by, and may take the lock back.
        tell(by, 'hands over');
        count('handed over');
        by.runs = false;
        for (const socket of by.sockets) close(socket);
        await step(by, 1_000);
      }
      // As `--wait` does, or a manager that starts it again.
      await step(by, random.int(1, 600));
    }
  }

  async function squat(by: Process, most: number): Promise<void> {
    for (;;) {
      await step(by, random.int(0, random.chance(0.5) ? 10 : 500));
      const [socket] = by.sockets;
      if (socket && (by.sockets.size >= most || random.chance(0.4))) {
        tell(by, `leaves ${socket.name}`);
        close(socket);
      } else bindNow(by, random.int(0, NAMES - 1), random.chance(0.95));
    }
  }

  function judge(): void {
    const running = processes.filter(({ runs, alive }) => runs && alive);
    if (running.length > 1) fail(`two supervisors: ${running.map(({ title }) => title).join(', ')}`);
  }

  /** One step of somebody; false: nothing is left to happen. */
  async function advance(): Promise<boolean> {
    const due = (it: Step) => Math.max(it.atMs, it.by.frozenUntilMs);
    if (steps.length === 0) return false;
    const soonest = Math.min(...steps.map(due));
    nowMs = Math.max(nowMs, soonest);
    const ready = steps.filter((it) => due(it) <= nowMs + random.int(0, 3));
    const next = random.pick(ready);
    steps = steps.filter((it) => it !== next);
    nowMs = Math.max(nowMs, due(next));
    next.run();
    await settled();
    for (const it of watchers.splice(0)) {
      if (it.socket.owner.sockets.has(it.socket)) watchers.push(it);
      else it.done();
    }
    await settled();
    judge();
    return true;
  }

  function trouble(): void {
    const it = random.pick(processes.filter(({ alive }) => alive));
    if (it.kind === 'supervisor' && random.chance(0.5)) {
      it.frozenUntilMs = nowMs + random.int(1, 5_000);
      tell(it, `is stopped until ${it.frozenUntilMs}`);
      count('frozen');
    } else if (it.kind === 'supervisor') {
      end(it, 'is killed');
      count('killed');
    }
  }

  const squatters = random.chance(0.6) ? [spawn('squatter', random.chance(0.75) ? 'liar' : 'mute')] : [];
  for (const it of squatters) void squat(it, random.int(1, NAMES));
  const begun = random.int(2, 3);
  for (let index = 0; index < begun; index++) {
    const it = spawn(`s${index}`, 'supervisor');
    void step(it, random.chance(0.6) ? 0 : random.int(0, 2_000)).then(() => life(it));
  }
  const troubles = random.chance(0.6) ? 0.02 : 0;
  const stopAtMs = random.int(1_000, 12_000);
  for (let turn = 0; turn < STEPS_MAX && nowMs < stopAtMs && violations.length === 0; turn++) {
    if (random.chance(troubles) && processes.some(({ alive }) => alive)) trouble();
    if (random.chance(0.01) && processes.length < 8) void life(spawn(`s${processes.length}`, 'supervisor'));
    if (!(await advance())) break;
  }

  // The end: nobody else is left but a liar, that has at most all but one of the names.
  for (const it of processes) end(it, 'is gone');
  if (violations.length === 0 && random.chance(0.5)) {
    const liar = spawn('last liar', 'liar');
    const free = random.int(0, NAMES - 1);
    for (let name = 0; name < NAMES; name++) {
      const socket = name !== free && random.chance(0.7) ? bindNow(liar, name, true) : null;
      // It leaves in the midst of the election: so two bind different names at once.
      if (socket && random.chance(0.5)) void step(liar, random.int(0, 20)).then(() => close(socket));
    }
  }
  const last = Array.from({ length: random.int(1, 3) }, (_, index) => spawn(`last ${index}`, 'supervisor'));
  const results: string[] = [];
  for (const it of last) void start(it).then((result) => results.push(result));
  for (let turn = 0; turn < STEPS_MAX && results.length < last.length && violations.length === 0; turn++)
    if (!(await advance())) break;
  const winners = results.filter((it) => it === 'held').length;
  const right = results.length === last.length && winners === 1 && !results.includes('lost');
  if (violations.length === 0 && !right)
    fail(`${last.length} start at last, and this comes of it: ${results.join(', ')}`);
  count(last.length === 1 ? 'alone at last' : 'several at last');
  return outcome(seed);
}

/** What was resolved has run as far as it gets. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
