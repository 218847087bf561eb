// The worker of the gateway's rows: asks the Bot API as a bot would, through the gateway (which only the worker's tree may use) and past it
// in turns, by wrk, getMe on one connection and on many, prints one JSON document with what it has measured, and ends.
//   load.mjs ROUNDS API PROXY
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { inTurns } from '../statistics.mjs';

const { TELEGRAM_API_ROOT: gateway, TELEGRAM_BOT_TOKEN: token } = process.env;
const [rounds, api, proxy] = process.argv.slice(2);
if (gateway === api) throw new Error('the worker was given the API itself: there is no gateway to measure');
const WRK = join(import.meta.dirname, 'percentiles.lua');
const CONNECTIONS = 32;
/** V8 takes its time to compile what is hot. */
const WARM_UP_S = 2;

/** On connections that always have one call open each: calls per second, ms of the 50th and 99th percentile. */
function getMe(root, connections, seconds = 1) {
  const options = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', WRK, `${root}/bot${token}/getMe`];
  return JSON.parse(execFileSync('wrk', options, { encoding: 'utf8' }).trim().split('\n').at(-1));
}

getMe(gateway, CONNECTIONS, WARM_UP_S);
// As a hook leads there: the same port, with TLS.
const led = gateway.replace('http:', 'https:');
getMe(led, CONNECTIONS, WARM_UP_S);
const single = { led: () => getMe(led, 1), ours: () => getMe(gateway, 1), theirs: () => getMe(api, 1) };
const busy = { ours: () => getMe(gateway, CONNECTIONS), theirs: () => getMe(proxy, CONNECTIONS) };
console.log(JSON.stringify({ single: await inTurns(rounds, single), busy: await inTurns(rounds, busy) }));
process.exit();
