/** The loader, by tables: what a configuration gives, which mistakes it has, and what it is warned of, each with its place. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { type Config, type LoadRequest, loadConfig } from '../../src/config/load.ts';
import { configFailure } from '../../src/config/messages.ts';
import type { RawFlags } from '../../src/config/options.ts';
import { secretFlags } from '../../src/config/targets.ts';
import { readToken } from '../../src/config/token.ts';
import { newFolder } from '../support/place.ts';

const secret = (letter: string): string => letter.repeat(35);
const TOKEN = `123456:${secret('A')}`;
const RENEWED = `123456:${secret('C')}`;
const OTHER = `654321:${secret('B')}`;
const CHAT = { ASSISTANT_ADMIN_TELEGRAM_ID: '42' };
const DEPLOY = { POLLING_ENABLED: '0' };
const ENGINE = 'redis://:geheim@127.0.0.1:1';
const HOOK = 'https://alice:geheim@hooks.slack.com/services/geheim?k=geheim';

const root = newFolder();
let projects = 0;

interface Case extends Partial<LoadRequest> {
  readonly files?: Readonly<Record<string, string>>;
  readonly toml?: string;
  /** Without the usual token, or the usual command. */
  readonly bare?: boolean;
}

/** Loads `start -- node bot.js` with a token in the environment, in a folder of its own with these files. */
async function load({ files = {}, toml, bare, ...request }: Case) {
  const cwd = join(root, String(projects++));
  mkdirSync(cwd);
  for (const [name, text] of Object.entries(
    toml === undefined ? files : { ...files, 'singlepoll.toml': toml },
  )) {
    mkdirSync(dirname(join(cwd, name)), { recursive: true });
    writeFileSync(join(cwd, name), text, { mode: 0o600 });
  }
  const argvCommand = bare ? [] : ['node', 'bot.js'];
  const env = { ...(bare ? {} : { BOT_TOKEN: TOKEN }), ...request.env };
  const loaded = await loadConfig({ command: 'start', flags: {}, argvCommand, cwd, ...request, env });
  const said = JSON.stringify([loaded.warnings, loaded.ok ? loaded.config.settings : loaded.errors]);
  assert.doesNotMatch(said, /A{6}|B{6}|C{6}|geheim/, 'a secret was shown');
  return loaded;
}

async function good(request: Case): Promise<Config & { warnings: readonly string[] }> {
  const loaded = await load(request);
  assert.ok(loaded.ok, loaded.ok ? '' : configFailure(loaded.errors).message);
  return { ...loaded.config, warnings: loaded.warnings };
}

type Row = readonly [Case, ...(readonly RegExp[])];

/** As many as there are patterns, in their order. */
function assertSaid(said: readonly string[], patterns: readonly RegExp[], request: Case): void {
  const seen = `${JSON.stringify(request)}\n${said.join('\n')}`;
  if (said.length !== patterns.length) assert.fail(`${said.length} instead of ${patterns.length}: ${seen}`);
  for (const [index, pattern] of patterns.entries()) assert.match(said[index]!, pattern, seen);
}

function refused(title: string, rows: readonly Row[]): void {
  test(`refused: ${title}`, async () => {
    for (const [request, ...patterns] of rows) {
      const loaded = await load(request);
      assertSaid(loaded.ok ? [] : loaded.errors, patterns, request);
    }
  });
}

function warned(title: string, rows: readonly Row[]): void {
  test(`accepted, with a warning: ${title}`, async () => {
    for (const [request, ...patterns] of rows) assertSaid((await good(request)).warnings, patterns, request);
  });
}

function gives(title: string, rows: readonly (readonly [Case, Partial<Config>])[]): void {
  test(title, async () => {
    for (const [request, expected] of rows) {
      const config = await good(request);
      const seen = Object.fromEntries(Object.keys(expected).map((key) => [key, config[key as keyof Config]]));
      assert.deepEqual(seen, expected, JSON.stringify(request));
    }
  });
}

const flag = (flags: RawFlags): Case => ({ flags });
const lease = (url: string, more: RawFlags = {}): Case => flag({ lease: url, ...more });

const from = (
  option: 'gateway' | 'stopTimeout',
  value: string | boolean,
  place: string,
): Partial<Config> => ({ settings: [{ option, value, from: place }] });
const layers: Case = { toml: '\n\nstopTimeout = "4s"', files: { '.env': '\nSINGLEPOLL_STOP_TIMEOUT=3s' } };
const stopTwin = (value: string) => ({ env: { SINGLEPOLL_STOP_TIMEOUT: value } });
const timeout = (value: string, place: string) => from('stopTimeout', value, place);
gives('flag, environment, env file, TOML; an empty variable sets nothing, a weaker mistake does not matter', [
  [{ ...layers, ...stopTwin('x'), flags: { stopTimeout: '1s' } }, timeout('1s', '--stop-timeout')],
  [{ ...layers, ...stopTwin('2s') }, timeout('2s', 'SINGLEPOLL_STOP_TIMEOUT in the environment')],
  [layers, timeout('3s', 'SINGLEPOLL_STOP_TIMEOUT in .env line 2')],
  [{ toml: layers.toml!, ...stopTwin('') }, timeout('4s', 'stopTimeout in singlepoll.toml line 3')],
]);
const offBy = (place: string) => ({ ...from('gateway', false, place), gateway: false });
gives('each flag has two names, and can be taken back', [
  [flag({ gateway: false }), offBy('--no-gateway')],
  [{ env: { SINGLEPOLL_NO_GATEWAY: '1' } }, offBy('SINGLEPOLL_NO_GATEWAY in the environment')],
  [{ env: { SINGLEPOLL_GATEWAY: '0' } }, offBy('SINGLEPOLL_GATEWAY in the environment')],
  [{ toml: 'noGateway = true' }, offBy('noGateway in singlepoll.toml line 1')],
  [{ toml: 'gateway = false' }, offBy('gateway in singlepoll.toml line 1')],
  [{ flags: { gateway: true }, env: { SINGLEPOLL_NO_GATEWAY: '1' } }, from('gateway', true, '--gateway')],
  [
    { flags: { wait: false }, env: { SINGLEPOLL_WAIT: '1' } },
    { wait: false, noWait: true },
  ],
  [{ toml: 'noWait = true' }, { noWait: true }],
]);
gives('what each kind of place can hold', [
  [{ toml: 'stray = ["a_bot", "b,c"]' }, { stray: ['a_bot', 'b,c'] }],
  [{ toml: 'stray = "one"', env: { SINGLEPOLL_STRAY: 'a b\n\nc,d:e\r\n' } }, { stray: ['a b', 'c,d:e'] }],
  [{ toml: 'stray = "one"', flags: { stray: ['x_bot'] } }, { stray: ['x_bot'] }],
  [
    { toml: 'stopTimeout = 20\nbackoff = ["2s", "1m"]\nmaxRestarts = \'3/1m\'\nwait = true' },
    {
      ...{ stopTimeoutMs: 20_000, backoff: { minMs: 2_000, maxMs: 60_000 }, wait: true },
      maxRestarts: { count: 3, periodMs: 60_000 },
    },
  ],
  ...['1', 'TRUE', ' on '].map((it) => [{ env: { SINGLEPOLL_DRY_RUN: it } }, { dryRun: true }] as const),
  ...['0', 'No', ''].map((it) => [{ env: { SINGLEPOLL_DRY_RUN: it } }, { dryRun: false }] as const),
  [
    { env: { TELEGRAM_API_ROOT: 'http://x/', SINGLEPOLL_API_ROOT: 'http://twin' } },
    { apiRoot: 'http://twin', apiRootSource: 'SINGLEPOLL_API_ROOT in the environment' },
  ],
  [
    { files: { '.env': 'TELEGRAM_API_ROOT=http://x/' } },
    { apiRoot: 'http://x', apiRootSource: 'TELEGRAM_API_ROOT in .env line 1' },
  ],
]);
refused('values and keys of the TOML file, also where the command line makes them harmless', [
  [{ toml: 'stopTimout = 1' }, /^stopTimout in singlepoll.toml line 1: .*did you mean stopTimeout\?$/],
  [{ toml: '"stop-timeout" = "3s"' }, /did you mean stopTimeout\?/],
  [{ toml: '[supervisor]\nwait = true' }, /^supervisor in singlepoll\.toml line 1: there is no such option$/],
  [{ toml: `token = "${TOKEN}"` }, /does not go into this file.*tokenFile or tokenEnv/],
  [{ toml: `"${TOKEN}" = 1` }, /123456:….* there is no such option/],
  [{ toml: 'backoff = "5s,1s"' }, /^backoff in .* 1 is "5s,1s": MIN is .* MAX\. Accepted: MIN,MAX, such/],
  [{ toml: 'stopTimeout = true' }, /is "true": it is not a time/],
  ...['2024-01-01', '{a = 1}', '[["x"]]'].map((it): Row => [{ toml: `stray = ${it}` }, /it is not a text/]),
  [{ toml: 'wait = ' }, /^singlepoll\.toml: line 1, column \d+: /],
  [{ toml: `apiRoot = "${TOKEN}` }, /^singlepoll\.toml: line 1, column \d+: /],
  [{ toml: 'command = "node bot.js"' }, /^command in .*line 1: .*command = \["node", "bot\.js"\]/],
  [{ toml: 'command = ["node", 1]' }, /not an array of texts/],
  ...['[]', '[""]'].map((it): Row => [{ toml: `command = ${it}` }, /first word, the program, is missing/]),
]);
refused('a file that was named and is not there', [
  [flag({ config: 'no.toml' }), /^--config is "no\.toml": there is no such file/],
  [{ env: { SINGLEPOLL_ENV_FILE: 'no.env' } }, /^SINGLEPOLL_ENV_FILE in the environment is "no\.env"/],
  [flag({ envFile: '.' }), /it is a folder/],
  [flag({ envFile: '~/x.env' }), /~ is not expanded/],
  [flag({ tokenFile: '' }), /^--token-file is "": it is empty/],
  [flag({ tokenFile: 'none' }), /^--token-file: the token file none is not there/],
]);
test('paths in TOML are relative to its folder, others to the working folder', async () => {
  const files = {
    'etc/bot.toml': 'tokenFile = "token"\nenvFile = "bot.env"\nlogFile = "log"',
    ...{ 'etc/token': `  ${TOKEN}\r\nmore`, 'etc/bot.env': 'A=1', 'my.env': 'A=2' },
  };
  const request = { bare: true, argvCommand: ['x'], files, flags: { config: 'etc/bot.toml' } };
  const { cwd, warnings, ...config } = await good(request);
  assert.deepEqual([config.envFileVars, warnings], [{ A: '1' }, []]);
  assert.equal(config.tokenSource, 'the file etc/token');
  assert.equal(config.logFile, join(cwd, 'etc/log'));
  const other = { ...request, flags: { ...request.flags, envFile: 'my.env' } };
  assert.deepEqual((await good(other)).envFileVars, { A: '2' });
});
refused('every mistake at once, in the order of the table', [
  [
    {
      bare: true,
      flags: { backoff: '5s,1s', stray: ['a(', '.*', 'fine_bot'], tokenEnv: TOKEN, wait: true },
      env: { SINGLEPOLL_TAKEOVER: 'yes', TELEGRAM_API_ROOT: 'http://u:geheim@x', SINGLEPOLL_RESTART: 'x' },
      files: { '.env': 'SINGLEPOLL_HEARTBEAT=0' },
      toml: 'maxRestarts = "x"\nlogfmt = 1',
    },
    /^logfmt in singlepoll\.toml line 2/,
    /^--stray is "a\("/,
    /^--stray is "\.\*"/,
    /^--token-env is "123456:…": .*\. Accepted: /,
    /^TELEGRAM_API_ROOT in the environment is .*\. Accepted: /,
    /^SINGLEPOLL_RESTART in the environment is "x"/,
    /^--backoff is "5s,1s"/,
    /^maxRestarts in singlepoll\.toml line 1 is "x"/,
    /^SINGLEPOLL_HEARTBEAT in \.env line 1 is "0"/,
    /^--wait and SINGLEPOLL_TAKEOVER in the environment exclude each other/,
    /^no command to run\. Three ways.*singlepoll start -- node.*command = \["node.*worker: node bot\.js/s,
  ],
]);
refused('right one by one and wrong together', [
  [flag({ wait: true, takeover: true }), /^--wait and --takeover exclude each other/],
  [flag({ keepWebhook: true, dropPending: true }), /deleteWebhook/],
  [flag({ gateway: false, sealed: true }), /^--no-gateway and --sealed exclude each other/],
  [{ flags: { gateway: false }, env: { SINGLEPOLL_LEASE: ENGINE } }, /^--no-gateway and SINGLEPOLL_LEASE in/],
]);
warned('what has no effect, and names that nobody reads', [
  [flag({ gateway: false, onRival: 'yield' }), /^--on-rival has no effect with --no-gateway/],
  [{ toml: 'readyInStandby = "no"' }, /^readyInStandby in .* has no effect without --http/],
  [flag({ leaseProfile: 'fast' }), /^--lease-profile has no effect without --lease/],
  [flag({ alertFormat: 'json' }), /^--alert-format has no effect without --alert-url/],
  [flag({ digest: '09:00' }), /^--digest has no effect: alerts go nowhere/],
  [{ env: { ...CHAT, SINGLEPOLL_BOT: '1', SINGLEPOLL_EPOCH: '1', SINGLEPOLL_DIR: '/x' } }],
  [
    {
      env: { SINGLEPOLL_STOP_TIMOUT: '3s' },
      files: { '.env': 'SINGLEPOLL_ZZZZZZ=1\nSINGLEPOLL_CONFIG=x\nSINGLEPOLL_DIR=z\nnonsense' },
    },
    /^\.env line 4: it is not NAME=value$/,
    /^SINGLEPOLL_STOP_TIMOUT in the environment: .* did you mean SINGLEPOLL_STOP_TIMEOUT\?/,
    /^SINGLEPOLL_ZZZZZZ in \.env line 1: there is no such option$/,
    /^SINGLEPOLL_CONFIG in \.env line 2 is not read/,
    /^SINGLEPOLL_DIR in \.env line 3 is not read/,
  ],
  [
    { files: { '.env/bin/activate': '', 'singlepoll.toml/x': '' } },
    /^singlepoll\.toml is not read: it is a folder/,
    /^\.env is not read: it is a folder/,
  ],
  [{ argvCommand: ['bot', `--token=${TOKEN}`] }, /process list/],
]);

const usual = { bare: true, env: { BOT_TOKEN: TOKEN } };
const procfile = (text: string): Case => ({ ...usual, files: { Procfile: text } });
const command = (source: string, ...argv: string[]) => ({ command: { argv, source } });
const line = (name: string, text: string) => command(`${name}: in Procfile`, 'sh', '-c', text);
gives('the command comes word for word from the command line, then TOML, then a line of the Procfile', [
  [
    { ...procfile('web: w'), argvCommand: ['node', '', '--wait', 'a b', '$X'], toml: 'command = ["t"]' },
    command('command line', 'node', '', '--wait', 'a b', '$X'),
  ],
  [{ ...procfile('web: w'), toml: 'command = ["t"]' }, command('command in singlepoll.toml line 1', 't')],
  [procfile('web: w\nbot: b\nworker:  x $PORT && y  \n'), line('worker', 'x $PORT && y')],
  [procfile('web: w\r\nbot: b\n'), line('bot', 'b')],
  [{ bare: true, flags: { sandbox: true } }, { command: null }],
  [{ ...usual, command: 'reset' }, { command: null }],
  [{ ...procfile('web: w'), command: 'status' }, { command: null }],
]);
refused('a command or a token that is missing', [
  [usual, /^no command to run\./],
  [procfile('# worker: no\nclock: c\nworker:\n'), /Procfile has no worker:, bot: or web: line/],
  // A file that can't be read is said, not also what may stand in it.
  [{ bare: true, toml: 'x' }, /^singlepoll\.toml: line 1/],
  [{ bare: true, argvCommand: ['x'] }, /^no bot token: .*there is no \.env in .*--token-file.*--sandbox/s],
  [{ bare: true, argvCommand: ['x'], files: { '.env': 'A=1' } }, /^no bot token: .* nor in \.env/],
  [
    { bare: true, argvCommand: ['x'], files: { '.env': `MY_TOKEN=${TOKEN}` } },
    /nor in \.env\. MY_TOKEN in \.env looks like one: --token-env MY_TOKEN$/m,
  ],
  ...(['who', 'ping', 'reset'] as const).map((command): Row => [{ bare: true, command }, /^no bot token/]),
]);

const disabled = (value: string, pollingDoubt: string | null) =>
  [{ env: { POLLING_ENABLED: value } }, { polling: false, pollingDoubt }] as const;
gives('POLLING_ENABLED: exactly 1, or unset, polls; deploy mode needs no token', [
  [{ env: { POLLING_ENABLED: '1' } }, { polling: true, pollingDoubt: null }],
  ...['', '0', '11'].map((it) => disabled(it, null)),
  ...['true', 'YES', '1 ', '"1"', '01'].map((it) =>
    disabled(
      it,
      `POLLING_ENABLED in the environment is "${it}", which reads like a yes, but only 1 enables polling`,
    ),
  ),
  [{ files: { '.env': 'POLLING_ENABLED=0' } }, { polling: false }],
  [{ bare: true, argvCommand: ['x'], env: DEPLOY }, { botId: null }],
  [{ env: { ...DEPLOY, TELEGRAM_TOKEN: OTHER } }, { token: null, gateway: false }],
  [
    { ...lease(ENGINE), env: { ...DEPLOY, ...CHAT } },
    { botId: 123456, lease: null, alerts: null },
  ],
]);

const MINE = { tokenEnv: 'MINE' };
const found = (tokenSource: string, ...tokenVariables: readonly string[]) => {
  return { token: TOKEN, tokenSource, tokenVariables };
};
const bare = (env: Record<string, string>, file = '', flags: RawFlags = {}): Case => {
  return { bare: true, argvCommand: ['x'], env, files: { '.env': file, token: TOKEN }, flags };
};
gives('the first place of a token counts, and every variable with one is named', [
  [
    bare({ BOT_TOKEN: TOKEN, TELEGRAM_BOT_TOKEN: TOKEN }),
    found('TELEGRAM_BOT_TOKEN in the environment', 'TELEGRAM_BOT_TOKEN', 'BOT_TOKEN'),
  ],
  [bare({ TELEGRAM_TOKEN: TOKEN }), found('TELEGRAM_TOKEN in the environment', 'TELEGRAM_TOKEN')],
  [bare({ TELEGRAM_BOT_TOKEN: '' }, `BOT_TOKEN=${TOKEN}`), found('BOT_TOKEN in .env', 'BOT_TOKEN')],
  [bare({ BOT_TOKEN: TOKEN }, `MINE=${TOKEN}`, MINE), found('MINE in .env', 'MINE', 'BOT_TOKEN')],
  [bare({ BOT_TOKEN: TOKEN }, '', { tokenFile: 'token' }), found('the file token', 'BOT_TOKEN')],
]);
refused('two bots, and what is no token', [
  [
    bare({ TELEGRAM_TOKEN: TOKEN }, `BOT_TOKEN=${OTHER}`),
    /two different bots: TELEGRAM_TOKEN in the environment is bot 123456, BOT_TOKEN in \.env is bot 654321/,
  ],
  [bare({ MINE: TOKEN, BOT_TOKEN: OTHER }, '', MINE), /^two .* MINE in .* is bot 123456, BOT_TOKEN/],
  [bare({ BOT_TOKEN: OTHER }, '', { tokenFile: 'token' }), /the file token is bot 123456, BOT_TOKEN in/],
  [bare({ TELEGRAM_BOT_TOKEN: 'nonsense1', BOT_TOKEN: TOKEN }), /is no bot token: there is no colon/],
  [bare({ BOT_TOKEN: TOKEN }, 'A=1', MINE), /MINE is not set in the environment nor in \.env/],
  [bare({}, '', { tokenFile: '.env' }), /the token file \.env is empty/],
  [{ command: 'status', env: { TELEGRAM_API_ROOT: 'x' } }, /^TELEGRAM_API_ROOT in the environment is "x"/],
  ...(['status', 'stop', 'who'] as const).map(
    (command): Row => [{ command, env: { BOT_TOKEN: 'x' } }, /placeholder/],
  ),
]);
warned('tokens that are not used', [
  [bare({ BOT_TOKEN: TOKEN }, `TELEGRAM_TOKEN=${RENEWED}`), /^TELEGRAM_TOKEN in .* another secret for bot/],
  [bare({ BOT_TOKEN: TOKEN }, `BOT_TOKEN=${OTHER}`), / \.env is bot 654321; the environment wins/],
  [bare({ BOT_TOKEN: TOKEN }, 'TELEGRAM_TOKEN=changeme'), /^TELEGRAM_TOKEN .* not used: it is a placeholder/],
  [
    {
      ...flag({ sandbox: true, tokenFile: 'x' }),
      env: { TELEGRAM_API_ROOT: 'http://x', TELEGRAM_TOKEN: OTHER },
    },
    /^--sandbox has a bot of its own: the token given \(--token-file, BOT_TOKEN, TELEGRAM_TOKEN\) is not used/,
    /^--sandbox is its own Bot API: TELEGRAM_API_ROOT in the environment is not used/,
  ],
]);
test('what is a token, and what people paste in place of one; no part of a damaged one is shown', async () => {
  const real = `111111:tokenHERExxxx${'a1'.repeat(11)}`;
  const odd = [`7:${secret('A')}`, `8123456789:AA-_${'x'.repeat(31)}`, `1:${'a'.repeat(24)}`];
  for (const token of [TOKEN, real, ...odd]) assert.ok(readToken(token).ok, token);
  const bad: readonly (readonly [string, RegExp])[] = [
    [' ', /blank/],
    [`${TOKEN}\n`, /white space/],
    [`"${TOKEN}"`, /quotes/],
    [`bot${TOKEN}`, /begins with "bot"/],
    [`https://api.telegram.org/bot${TOKEN}`, /URL/],
    [`BOT_TOKEN=${TOKEN}`, /NAME=value/],
    ...['your-token-here', '123456:your-token', '<token>', '123456:ABC-DEF...'].map(
      (it) => [it, /placeholder/] as const,
    ),
    ['123456', /bot id alone/],
    [`111111${secret('A')}`, /no colon/],
    [`abc123:${secret('A')}`, /not a bot id/],
    [`${'9'.repeat(17)}:${secret('A')}`, /not a bot id/],
    [`111111:${secret('A')}:x1`, /characters other than/],
    ['111111:AAAAAAAAAAAAAAAAAAAAAAA', /23 characters only/],
  ];
  for (const [text, problem] of bad) {
    const read = readToken(text);
    assert.match(read.ok ? 'ok' : read.problem, problem, text);
  }
  const word = 'a1b2c3d4e5f6g7h8i9j0kLmNoPqRsTuVwXy';
  const whole = `123456:${word}`;
  for (let cut = 0; cut < whole.length; cut++) {
    const [head, tail] = [whole.slice(0, cut), whole.slice(cut)];
    for (const text of [head, tail, `${head}!${tail}`, `x${whole}`]) {
      const loaded = await load({ env: { BOT_TOKEN: text } });
      const said = JSON.stringify([loaded.warnings, loaded.ok ? [] : loaded.errors]);
      for (let start = 0; start + 8 <= word.length; start++)
        assert.ok(!said.includes(word.slice(start, start + 8)), said);
    }
  }
});

test('status and its like work beside mistakes that do not concern them', async () => {
  for (const command of ['status', 'stop', 'restart', 'logs'] as const)
    assert.equal((await good({ bare: true, command })).botId, null);
  const many = 'backoff = "x"\nwait = true\ntakeover = true\nzzz = 1';
  for (const toml of ['nonsense', many, 'lease = "env:NOPE"']) {
    const { botId, warnings } = await good({ toml, command: 'status' });
    assert.ok(botId === 123456 && warnings.length > 0, toml);
  }
  assert.equal((await load({ flags: { lease: 'env:NOPE' }, command: 'status' })).ok, false, 'it was typed');
});

const chatFile = { files: { '.env': 'TELEGRAM_ADMIN_CHAT_ID=7' } };
gives('the admin chat, by environment and env file', [
  [{ ...chatFile, env: { ...CHAT, TELEGRAM_ADMIN_CHAT_ID: '43' } }, { adminChatId: '42' }],
  [{ ...chatFile, env: { TELEGRAM_ADMIN_CHAT_ID: ' -1001234567890 ' } }, { adminChatId: '-1001234567890' }],
  [{ ...chatFile, env: { ASSISTANT_ADMIN_TELEGRAM_ID: '' } }, { adminChatId: '7' }],
  [{ env: { TELEGRAM_ADMIN_CHAT_ID: '@my_channel' } }, { adminChatId: '@my_channel' }],
]);
const nobody = { env: { ASSISTANT_ADMIN_TELEGRAM_ID: 'me' } };
warned('a malformed admin chat, which stops ping only', [[nobody, /neither a chat id/]]);
refused('ping to a malformed admin chat', [[{ ...nobody, command: 'ping' }, /neither a chat id/]]);

const alerts = { chat: '42', url: null, cooldownMs: 900_000, digest: null };
const hook = (url: string, format: 'json' | 'slack' | 'discord' | 'ntfy') =>
  [
    { env: { HOOK: url }, flags: { alertUrl: 'env:HOOK' } },
    { alerts: { ...alerts, chat: null, url: { url, format } } },
  ] as const;
gives('alerts to the admin chat and to a URL, in the format of its host', [
  [{ env: CHAT }, { alerts }],
  [{ env: CHAT, flags: { alerts: false } }, { alerts: null }],
  [{ env: { ...CHAT, SINGLEPOLL_NO_ALERTS: '1' }, flags: { alerts: true } }, { alerts }],
  hook('https://hooks.slack.com/services/T/B/x', 'slack'),
  hook('https://discord.com/api/webhooks/1/x', 'discord'),
  hook('https://ntfy.sh/my-topic', 'ntfy'),
  hook('https://discord.com.example.com/api/webhooks/1/x', 'json'),
  [
    { env: CHAT, toml: 'digest = "07:30"\ndigestZone = "Asia/Tokyo"' },
    { alerts: { ...alerts, digest: { time: '07:30', zone: 'Asia/Tokyo' } } },
  ],
]);
refused('targets, nothing of which is shown but where they lead', [
  [flag({ alertUrl: 'env:NOPE' }), /NOPE is not set/],
  [flag({ alertUrl: HOOK.replace('https', 'ftp') }), /^--alert-url .*hooks\.slack\.com\/…": .*neither http/],
  [flag({ alertUrl: 'https://ntfy.sh/' }), /without a topic/],
  [flag({ alertFormat: 'jsno' }), /did you mean json\?/],
  [flag({ digest: '25:00', digestZone: 'Mars/Olympus' }), /no such time/, /no such time zone/],
  [lease('mysql://u:geheim@x'), /^--lease is .*mysql.*Accepted: env:NAME.*redis:\/\/.*postgres:\/\/.*k8s:/],
  [lease('env:'), /--lease is "env:": behind env: stands no name of a variable/],
  [{ ...lease('env:SHARED'), env: { SHARED: ' ' } }, /--lease is env:SHARED, and SHARED is not set/],
  [{ ...lease('env:SHARED'), env: { SHARED: 'redis//:geheim@x' } }, /SHARED \(named by --lease\) is/],
  [{ ...lease('env:SHARED'), files: { '.env': 'SHARED=foo://u:geheim@x' } }, /SHARED \(named by --lease\)/],
  [{ toml: 'lease = "mysql://u:geheim@x"' }, /lease in singlepoll\.toml line 1 is/],
  [lease('env:SHARED', { stopTimeout: 'x' }), /--stop-timeout/, /SHARED/],
]);
test('each place of the lease, the strongest first; its times; no password stands in an argument', async () => {
  const shared = lease('env:SHARED');
  const places: readonly Case[] = [
    { env: { SINGLEPOLL_LEASE: ENGINE } },
    { toml: 'lease = "env:SHARED"', env: { SHARED: ENGINE } },
    { files: { '.env': `SINGLEPOLL_LEASE=${ENGINE}` } },
    { ...shared, files: { '.env': `SHARED="${ENGINE}"` } },
    { ...shared, env: { SHARED: ` ${ENGINE}\n` }, files: { '.env': 'SHARED=k8s:' } },
    { ...shared, env: { SHARED: ENGINE, SINGLEPOLL_LEASE: 'k8s:' } },
  ];
  for (const place of places) {
    const config = await good(place);
    assert.deepEqual([config.lease?.url, config.lease?.ttlMs, config.warnings], [ENGINE, null, []]);
  }
  const asked = async (more: RawFlags) =>
    (await good({ ...shared, ...{ env: { SHARED: 'k8s:' } }, flags: { ...shared.flags, ...more } })).lease;
  const place = { url: 'k8s:', from: 'SHARED (named by --lease)' };
  const fast = { ...place, profile: 'fast', ttlMs: null, timesFrom: '--lease-profile' };
  assert.deepEqual(await asked({ leaseProfile: 'fast' }), fast);
  const seven = { ...place, profile: 'default', ttlMs: 7_000, timesFrom: '--lease-ttl' };
  assert.deepEqual(await asked({ leaseTtl: '7s' }), seven);
  const both = { lease: ENGINE, alertUrl: HOOK };
  const { warnings } = await good(flag(both));
  assertSaid(warnings, [/in --lease shows in process lists/, /in --alert-url shows in/], flag(both));
  const secrets = secretFlags({ ...both, detach: true });
  assert.deepEqual(secrets, [
    { name: 'lease', value: ENGINE },
    { name: 'alertUrl', value: HOOK },
  ]);
  assert.deepEqual(secretFlags({ lease: 'redis://10.0.0.1', alertUrl: 'env:HOOK' }), []);
});
