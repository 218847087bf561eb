// kill -9 at random moments, then start again: never two workers, never locked out, nothing lost.
// SP_TEST_KILL_ROUNDS sets the number of rounds (default 60).
import assert from 'node:assert/strict';
import { node } from '../support/bed.ts';
import { assertOnePoll } from '../support/gateway.ts';
import { assertNeverTwo, handled } from '../support/judge.ts';
import { xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { randomMoment, until } from '../support/wait.ts';

const ROUNDS = Number(process.env.SP_TEST_KILL_ROUNDS ?? 60);

for (const name of ['polite.mjs', 'two-loops.mjs', 'ignores-term.mjs', 'ends-on-409.mjs']) {
  const rounds = name === 'polite.mjs' ? ROUNDS : Math.ceil(ROUNDS / 4);
  xit(`of the supervisor, ${rounds} random moments with ${name}, now and then behind that of its worker, or after one of them stood still`, async (b) => {
    const ids: number[] = [];
    const isHandled = (id = -1) => handled(b.journal()).has(id);
    for (let round = 0; round < rounds; round++) {
      const run = b.start(['--stop-timeout', '1s', '--', ...node(name)]);
      ids.push(b.sandbox.text(`before ${round}`));
      // Every third round lets it come up first; the others strike anywhere in the start.
      if (round % 3 === 0) await until('an update to arrive', () => isHandled(ids.at(-1)), run);
      await randomMoment(600);
      assert.equal(run.ended(), null, `round ${round}: ${run.seen()}`);
      if (round % 6 === 0) {
        const victim = round % 12 === 0 ? run.pid : (polledBy(b, name).at(-1) ?? -1);
        process.kill(victim, 'SIGSTOP');
        await randomMoment(2_000);
        process.kill(victim, 'SIGCONT');
      } else if (round % 3 === 0) process.kill(polledBy(b, name).at(-1) ?? -1, 'SIGKILL');
      run.signal('SIGKILL');
      await until('its death', () => !alive(run.pid), { everyMs: 1 });
      ids.push(b.sandbox.text(`after ${round}`));
    }
    const last = await b.polling(['--stop-timeout', '1s', '--', ...node(name)]);
    await until('every update', () => ids.every(isHandled), last);
    assertNeverTwo(b);
    assertOnePoll(b);
    assert.equal(polledBy(b, name).filter(alive).length, 1, 'one worker in the end');
  });
}

xit(`in a takeover, ${ROUNDS} random moments: of the holder, the newcomer or both; a newcomer that fails, too`, async (b) => {
  const limits = ['--stop-timeout', '1s', '--start-timeout', '2s'];
  let holder = await b.polling(limits);
  for (let round = 0; round < ROUNDS; round++) {
    const fails = round % 4 === 3;
    const newcomer = b.start([...limits, '--takeover', ...(fails ? ['--', 'sleep', '1000'] : [])]);
    await randomMoment(2_500);
    const victims = [[holder], [newcomer], [holder, newcomer], []][Math.floor(Math.random() * 4)]!;
    for (const it of victims) if (it.ended() === null) it.signal('SIGKILL');
    const left = () => [holder, newcomer].filter((it) => it.ended() === null && alive(it.pid));
    // Both live until one has polled in the place of the other, or has given up.
    const isSettled = () => victims.every((it) => !alive(it.pid)) && left().length <= 1;
    const seen = () => `round ${round}\n${holder.seen()}\n${newcomer.seen()}`;
    await until('one to be left', isSettled, { seen });
    const [survivor] = left();
    holder =
      survivor && !(fails && survivor === newcomer) ? survivor : await b.polling([...limits, '--takeover']);
    if (survivor && holder !== survivor) await survivor.exit();
    await b.serves({ seen });
    assertNeverTwo(b);
  }
});
