// singlepoll has Bun load this file first (BUN_OPTIONS=--preload). It makes singlepoll's gateway the HTTPS proxy of this program: calls
// to api.telegram.org are served by the gateway, which keeps the bot to one poll at a time and passes every call on; calls to any other
// host pass through untouched. `singlepoll start --intercept off` keeps it out.
import { readFileSync } from 'node:fs';
import https from 'node:https';

try {
  const [port, pid, startTime, der] = (process.env.SINGLEPOLL_HOOK || '').split(':');
  const stat = der ? readFileSync(`/proc/${pid}/stat`, 'latin1') : '';
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // Whatever outlives singlepoll, of which a zombie may stay, has to reach api.telegram.org itself.
  if (
    der &&
    fields[0] !== 'Z' &&
    fields[19] === startTime &&
    !process.env.HTTPS_PROXY &&
    !process.env.https_proxy
  ) {
    // fetch reads it at each call.
    process.env.HTTPS_PROXY = `http://127.0.0.1:${port}`;
    https.globalAgent = new https.Agent({ ...https.globalAgent.options, proxyEnv: process.env });
  }
} catch {
  // The program comes first.
}
