// How many tests with supervisors run at once, over all processes of a run of `npm test` (scripts/test-files.mjs): each holds one slot,
// a connection to the runner, which ends with the process whatever happens. Without a runner nobody waits.
import { connect } from 'node:net';

/** Resolves when there is room; call what it gives when the test's processes are gone. */
export async function takeSlot(): Promise<() => void> {
  const path = process.env.SP_TEST_SLOTS;
  if (path === undefined) return () => {};
  const socket = connect(path);
  await new Promise((resolve, reject) => socket.once('data', resolve).once('error', reject));
  // The file ends although a test forgot its slot.
  socket.unref();
  return () => socket.destroy();
}
