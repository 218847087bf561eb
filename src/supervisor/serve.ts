/** The control channel's commands: status, watch, stop, restart, handover. Answers when the thing is done, not when it is begun. */
import { existsSync } from 'node:fs';
import type { Changes } from '../output/listeners.ts';
import { type Answer, type Handler, serveControl } from './control.ts';
import { createFollowers, type Followers } from './followers.ts';
import type { Running } from './run.ts';
import type { LiveDocument, StatusDocument } from './status.ts';

export interface ServeOptions {
  readonly socketPath: string;
  readonly running: Running;
  readonly status: () => StatusDocument;
  /** For those who watch. */
  readonly live: () => LiveDocument;
  readonly changes: Changes;
  /** Renews the poll, and tells who of this machine lost it. */
  readonly question: () => Promise<Answer>;
  /** Makes the folder of the socket anew where it is gone. Throws. */
  readonly makeFolder: () => void;
}

const REACHABLE_EVERY_MS = 5_000;

export interface Served {
  /** Takes no more requests; answers that are under way still go out. */
  close(): void;
  /** Gives those who wait for the end their answer; resolves when it has gone out. */
  tellEnd(stopped: string): Promise<void>;
}

/** Rejects with the system's error when the socket can't be made. */
export async function serve(options: ServeOptions): Promise<Served> {
  const { running } = options;
  const waitingForEnd: ((answer: Answer) => void)[] = [];
  const waitingForSpawn: { after: number; old: number | null; done: (answer: Answer) => void }[] = [];

  let followers: Followers | null = null;
  const follow = () => {
    followers ??= createFollowers({
      changes: options.changes,
      look: options.live,
    });
    return followers;
  };

  const end = (reason: string): Promise<Answer> => {
    const answer = new Promise<Answer>((resolve) => waitingForEnd.push(resolve));
    // Two that ask at once (a second `stop`, five takeovers) both want an end in order: only signals mean "now".
    if (running.loop.state.headed?.to !== 'exit') running.loop.send({ kind: 'ask-stop', reason });
    return answer;
  };

  function restart(): Promise<Answer> {
    const { state } = running.loop;
    if (state.phase === 'standby' || state.headed?.to === 'standby')
      return Promise.resolve({
        ok: false,
        error: 'it stands by: no worker runs here that could be replaced',
      });
    if (state.headed?.to === 'exit') return Promise.resolve({ ok: false, error: 'it is stopping' });
    const answer = new Promise<Answer>((done) =>
      waitingForSpawn.push({ after: state.spawn, old: state.pid, done }),
    );
    running.loop.send({ kind: 'ask-restart', reason: 'asked to by singlepoll restart' });
    return answer;
  }

  running.onStep(() => {
    const { state } = running.loop;
    for (const waiting of [...waitingForSpawn]) {
      if (state.spawn <= waiting.after || state.pid === null) continue;
      waitingForSpawn.splice(waitingForSpawn.indexOf(waiting), 1);
      waiting.done({
        ok: true,
        restarted: `worker ${state.pid} in place of ${waiting.old ?? 'none'}`,
        pid: state.pid,
      });
    }
  });

  const handler: Handler = async (request, say, asker) => {
    switch (request.cmd) {
      case 'status':
        return { ok: true, status: options.status() };
      case 'watch':
        return await follow().follow(asker);
      case 'stop':
        return await end('asked to by singlepoll stop');
      case 'handover':
        say(`pid ${process.pid} hands over`);
        return await end(`handing over to pid ${Number(request.to) || 'unknown'}`);
      case 'probe':
        return await options.question();
      case 'restart':
        return await restart();
      default:
        return { ok: false, error: `no such command: ${request.cmd.slice(0, 40)}` };
    }
  };

  let server = await serveControl(options.socketPath, handler);
  // A state folder that somebody has cleaned away must not leave a supervisor that nobody can reach.
  const watchdog = setInterval(() => {
    if (existsSync(options.socketPath)) return;
    server.close();
    try {
      options.makeFolder();
    } catch {
      return;
    }
    serveControl(options.socketPath, handler).then(
      (again) => {
        server = again;
      },
      () => {},
    );
  }, REACHABLE_EVERY_MS).unref();
  return {
    close() {
      clearInterval(watchdog);
      server.close();
    },
    async tellEnd(stopped) {
      for (const done of waitingForEnd) done({ ok: true, stopped });
      for (const waiting of waitingForSpawn) waiting.done({ ok: false, error: 'the supervisor has ended' });
      followers?.end();
      await server.drained(300);
    },
  };
}
