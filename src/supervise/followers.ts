/**
 * Those who watch this supervisor over its control channel: each gets a document at once, and another whenever one differs from the last. A
 * slow reader gets the newest only: nothing queues up. Between documents a beat tells that somebody is awake here. Loaded with the
 * first of them; without any nothing runs.
 */
import type { LiveDocument } from '../core/live.ts';
import type { Answer, Asker } from '../machine/control.ts';
import type { Changes } from './changes.ts';

export interface Followers {
  /** Answers when the supervisor has ended, or the reader has gone. */
  follow(asker: Asker): Promise<Answer>;
  /** The last document for everyone, then the answer. */
  end(): void;
}

/** What has no event of its own (the process list, an age in a problem) is looked at with the beat. */
const BEAT_MS = 1_000;
const BEAT = JSON.stringify({ say: '' });
/** The control channel has places for 64: `stop` must find one. */
const FOLLOWERS_MAX = 16;
/** Who takes nothing for so long is gone, or stopped; it can come back. */
const STALLED_MS = 30_000;

interface Follower {
  readonly asker: Asker;
  readonly done: (answer: Answer) => void;
  /** The last that was pushed. */
  sent: string;
  /** Pushed and not taken yet, since then. */
  waitingSinceMs: number | null;
}

export function createFollowers({
  changes,
  look,
  beatMs = BEAT_MS,
  stalledMs = STALLED_MS,
}: {
  readonly changes: Pick<Changes, 'listen'>;
  readonly look: () => LiveDocument;
  readonly beatMs?: number;
  readonly stalledMs?: number;
}): Followers {
  const all = new Set<Follower>();
  let leave: (() => void) | null = null;
  let beat: NodeJS.Timeout | null = null;
  let newest = '';

  function tell(): void {
    newest = JSON.stringify(look());
    for (const it of all) offer(it);
  }

  function offer(it: Follower): void {
    if (it.waitingSinceMs === null && it.sent !== newest) {
      it.sent = newest;
      push(it, newest);
    }
  }

  function push(it: Follower, line: string): void {
    it.waitingSinceMs = performance.now();
    it.asker.push(line, () => {
      it.waitingSinceMs = null;
      if (all.has(it)) offer(it);
    });
  }

  function beats(): void {
    tell();
    const nowMs = performance.now();
    for (const it of all) {
      if (it.waitingSinceMs === null) push(it, BEAT);
      else if (nowMs - it.waitingSinceMs > stalledMs) it.asker.drop();
    }
  }

  function begin(): void {
    leave = changes.listen(tell);
    beat = setInterval(beats, beatMs).unref();
  }

  function remove(it: Follower, answer: Answer): void {
    if (!all.delete(it)) return;
    it.done(answer);
    if (all.size > 0) return;
    leave?.();
    if (beat !== null) clearInterval(beat);
    beat = null;
    leave = null;
  }

  return {
    follow(asker) {
      if (all.size >= FOLLOWERS_MAX)
        return Promise.resolve({ ok: false, error: `${FOLLOWERS_MAX} watch it already` });
      if (asker.gone.aborted) return Promise.resolve({ ok: false, error: 'gone' });
      return new Promise((done) => {
        const it: Follower = { asker, done, sent: '', waitingSinceMs: null };
        all.add(it);
        asker.gone.addEventListener('abort', () => remove(it, { ok: false, error: 'gone' }), { once: true });
        if (all.size === 1) begin();
        tell();
      });
    },
    end() {
      tell();
      for (const it of [...all]) remove(it, { ok: true, ended: true });
    },
  };
}
