/**
 * Those who watch this supervisor over its control channel: each gets a document at once, and another whenever one differs from the last. A
 * slow reader gets the newest only: nothing queues up. Between documents a beat tells that somebody is awake here. Without any nothing runs.
 */

import type { Changes } from '../output/listeners.ts';
import type { Answer, Asker } from './control.ts';
import type { LiveDocument } from './status.ts';

export interface Followers {
  /** Answers when the supervisor has ended, or the reader has gone. */
  follow(asker: Asker): Promise<Answer>;
  /** The last document for everyone, then the answer. */
  end(): void;
}

interface Options {
  readonly changes: Pick<Changes, 'listen'>;
  readonly look: () => LiveDocument;
  readonly beatMs?: number;
  readonly stalledMs?: number;
}

/** What has no event of its own (the process list, an age in a problem) is looked at with the beat. */
const BEAT_MS = 1_000;
const BEAT = JSON.stringify({ say: '' });
/** `stop` must find a place at the control channel, too. */
const FOLLOWERS_MAX = 16;
/** A reader that takes nothing for so long is gone, or stopped; it can come back. */
const STALLED_MS = 30_000;

export function createFollowers(options: Options): Followers {
  const { changes, look, beatMs = BEAT_MS, stalledMs = STALLED_MS } = options;
  /** Of each follower, what sends it the last document. */
  const ends = new Set<() => void>();

  function begin(asker: Asker, done: (answer: Answer) => void): void {
    let sent = '';
    let sentMs = 0;
    let isTaken = true;
    const push = (line: string) => {
      isTaken = false;
      sentMs = performance.now();
      asker.push(line, () => {
        isTaken = true;
        tell();
      });
    };
    const tell = () => {
      if (!isTaken || !ends.has(end)) return;
      const newest = JSON.stringify(look());
      if (newest === sent) return;
      sent = newest;
      push(newest);
    };
    const beat = setInterval(() => {
      tell();
      if (isTaken) push(BEAT);
      else if (performance.now() - sentMs > stalledMs) asker.drop();
    }, beatMs).unref();
    const leaveChanges = changes.listen(tell);
    const leave = (answer: Answer) => {
      if (!ends.delete(end)) return;
      clearInterval(beat);
      leaveChanges();
      done(answer);
    };
    const end = () => {
      tell();
      leave({ ok: true, ended: true });
    };
    ends.add(end);
    asker.gone.addEventListener('abort', () => leave({ ok: false, error: 'gone' }), { once: true });
    tell();
  }

  return {
    async follow(asker) {
      if (ends.size >= FOLLOWERS_MAX) return { ok: false, error: `${FOLLOWERS_MAX} watch it already` };
      if (asker.gone.aborted) return { ok: false, error: 'gone' };
      return await new Promise((done) => begin(asker, done));
    },
    end() {
      for (const end of [...ends]) end();
    },
  };
}
