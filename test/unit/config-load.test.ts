/** The loader: which place wins, that every mistake is said at once with its place, what each command needs. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type Config, type Loaded, type LoadRequest, loadConfig } from '../../src/config/load.ts';
import { configFailure } from '../../src/config/messages.ts';
import { OPTION_NAMES, type OptionValues, optionRow } from '../../src/config/options.ts';

const TOKEN = `123456:${'A'.repeat(35)}`;
const OTHER = `654321:${'B'.repeat(35)}`;
const CHAT = { ASSISTANT_ADMIN_TELEGRAM_ID: '42' };
const root = mkdtempSync(join(tmpdir(), 'singlepoll-test-'));
after(() => rmSync(root, { recursive: true, force: true }));

let projects = 0;
/** A working folder of its own with these files in it. */
function project(files: Record<string, string> = {}): string {
  const cwd = join(root, String(projects++));
  mkdirSync(cwd);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(cwd, name)), { recursive: true });
    writeFileSync(join(cwd, name), text, { mode: 0o600 });
  }
  return cwd;
}

type Case = Partial<LoadRequest> & { files?: Record<string, string>; toml?: string; bare?: boolean };

/** Loads `start -- node bot.js` with a token in the environment, unless `bare` or said otherwise. */
async function load({ files, toml, bare, ...request }: Case = {}): Promise<Loaded> {
  const usual = bare ? {} : { BOT_TOKEN: TOKEN };
  const loaded = await loadConfig({
    command: 'start',
    flags: {},
    argvCommand: bare ? [] : ['node', 'bot.js'],
    cwd: project(toml === undefined ? files : { ...files, 'singlepoll.toml': toml }),
    ...request,
    env: { ...usual, ...request.env },
  });
  const said = JSON.stringify([loaded.warnings, loaded.ok ? loaded.config.settings : loaded.errors]);
  assert.doesNotMatch(said, /A{6}|B{6}/, 'a token was shown');
  return loaded;
}

async function good(request: Case = {}): Promise<Config & { warnings: readonly string[] }> {
  const loaded = await load(request);
  assert.ok(loaded.ok, loaded.ok ? '' : configFailure(loaded.errors).message);
  return { ...loaded.config, warnings: loaded.warnings };
}

async function mistakes(request: Case): Promise<readonly string[]> {
  const loaded = await load(request);
  assert.ok(!loaded.ok, 'was accepted');
  return loaded.errors;
}

/** The only mistake. */
async function mistake(request: Case): Promise<string> {
  const [first, ...more] = await mistakes(request);
  assert.deepEqual(more, []);
  return first ?? '';
}

test('without anything given all is as the table says, and frozen all the way down', async () => {
  const { warnings, settings, ...config } = await good();
  assert.deepEqual([warnings, settings], [[], []]);
  for (const name of OPTION_NAMES) {
    if (['alerts', 'envFile'].includes(name)) continue;
    const { initial, unit } = optionRow(name);
    assert.deepEqual(config[(name + unit) as keyof OptionValues], initial, name);
  }
  assert.deepEqual([config.stopTimeoutMs, config.gateway, config.polling], [15_000, true, true]);
  assert.deepEqual(config.command, { argv: ['node', 'bot.js'], source: 'command line' });
  assert.deepEqual([config.botId, config.tokenSource], [123456, 'BOT_TOKEN in the environment']);
  assert.deepEqual(
    [config.envFile, config.configFile, config.alerts, config.noWait],
    [null, null, null, false],
  );
  const loaded = await load({ flags: { stray: ['x_bot'] } });
  assert.ok(loaded.ok);
  const { command, stray, settings: set, envFileVars } = loaded.config;
  for (const part of [loaded.config, command, command?.argv, stray, set, set[0], envFileVars])
    assert.ok(Object.isFrozen(part));
});

describe('strength', () => {
  test('flag, environment, env file, TOML, default; an empty variable sets nothing', async () => {
    const flags = { stopTimeout: '1s' };
    const env = { SINGLEPOLL_STOP_TIMEOUT: '2s' };
    const toml = '\n\nstopTimeout = "4s"';
    const files = { '.env': '\nSINGLEPOLL_STOP_TIMEOUT=3s' };
    const cases: [Case, number, string | undefined][] = [
      [{ flags, env, files, toml }, 1_000, '--stop-timeout'],
      [{ env, files, toml }, 2_000, 'SINGLEPOLL_STOP_TIMEOUT in the environment'],
      [{ files, toml }, 3_000, 'SINGLEPOLL_STOP_TIMEOUT in .env line 2'],
      [{ env: { SINGLEPOLL_STOP_TIMEOUT: '' }, toml }, 4_000, 'stopTimeout in singlepoll.toml line 3'],
      [{}, 15_000, undefined],
    ];
    for (const [request, ms, from] of cases) {
      const { stopTimeoutMs, settings } = await good(request);
      assert.deepEqual([stopTimeoutMs, settings[0]?.from], [ms, from]);
    }
    const weaker = await good({ flags: { heartbeat: '5s' }, env: { SINGLEPOLL_HEARTBEAT: 'x' } });
    assert.equal(weaker.heartbeatMs, 5_000, 'a weaker mistake does not matter');
  });
  test('a flag takes back what a variable or the file says', async () => {
    assert.equal((await good({ flags: { wait: false }, env: { SINGLEPOLL_WAIT: '1' } })).wait, false);
    const env = { ...CHAT, SINGLEPOLL_NO_GATEWAY: '1', SINGLEPOLL_NO_ALERTS: '1' };
    for (const place of [{ env }, { env: CHAT, toml: 'noGateway = true\nnoAlerts = true' }]) {
      const off = await good(place);
      assert.deepEqual([off.gateway, off.alerts], [false, null]);
      const on = await good({ ...place, flags: { gateway: true, alerts: true } });
      assert.deepEqual([on.gateway, on.alerts?.chat], [true, '42']);
    }
  });
  test('each flag has a positive and a negative name; the setting is told by what it means', async () => {
    const off: [Case, string][] = [
      [{ flags: { gateway: false } }, '--no-gateway'],
      [{ env: { SINGLEPOLL_NO_GATEWAY: '1' } }, 'SINGLEPOLL_NO_GATEWAY in the environment'],
      [{ env: { SINGLEPOLL_GATEWAY: '0' } }, 'SINGLEPOLL_GATEWAY in the environment'],
      [{ toml: 'noGateway = true' }, 'noGateway in singlepoll.toml line 1'],
      [{ toml: 'gateway = false' }, 'gateway in singlepoll.toml line 1'],
    ];
    for (const [request, from] of off) {
      const { gateway, settings, warnings } = await good(request);
      assert.deepEqual([gateway, warnings], [false, []], from);
      assert.deepEqual(settings, [{ option: 'gateway', words: '--no-gateway', from }]);
    }
    assert.equal((await good({ env: { SINGLEPOLL_NO_GATEWAY: '0' } })).gateway, true);
    assert.equal((await good({ toml: 'noWait = true' })).noWait, true);
  });
  test('lists replace, a variable has one value per line, TOML an array or a text', async () => {
    const toml = 'stray = ["toml_bot", "b,c"]';
    assert.deepEqual((await good({ toml })).stray, ['toml_bot', 'b,c']);
    assert.deepEqual((await good({ toml: 'stray = "one"' })).stray, ['one']);
    const { stray } = await good({ toml, env: { SINGLEPOLL_STRAY: 'a b\n\nc,d:e\r\n' } });
    assert.deepEqual(stray, ['a b', 'c,d:e']);
    assert.deepEqual((await good({ toml, flags: { stray: ['x_bot'] } })).stray, ['x_bot']);
  });
  test('the API root: its twin before TELEGRAM_API_ROOT', async () => {
    const files = { '.env': 'TELEGRAM_API_ROOT=http://file/' };
    const general = { TELEGRAM_API_ROOT: 'http://general' };
    for (const [env, expected] of [
      [
        { ...general, SINGLEPOLL_API_ROOT: 'http://twin' },
        'http://twin SINGLEPOLL_API_ROOT in the environment',
      ],
      [general, 'http://general TELEGRAM_API_ROOT in the environment'],
      [{}, 'http://file TELEGRAM_API_ROOT in .env line 1'],
    ] as const) {
      const { apiRoot, apiRootSource } = await good({ files, env });
      assert.equal(`${apiRoot} ${apiRootSource}`, expected);
    }
  });
  test('what a variable says to a flag', async () => {
    for (const text of ['1', 'TRUE', 'yes', ' on '])
      assert.equal((await good({ env: { SINGLEPOLL_DRY_RUN: text } })).dryRun, true, text);
    for (const text of ['0', 'false', 'No', 'off', ''])
      assert.equal((await good({ env: { SINGLEPOLL_DRY_RUN: text } })).dryRun, false, text);
  });
});

describe('TOML', () => {
  test('every kind of value', async () => {
    const config = await good({
      bare: true,
      env: { MINE: TOKEN },
      toml:
        'command = ["python3", "bot.py", "--x"]\ntokenEnv = "MINE"\nstopTimeout = 20\nbackoff = ["2s", "1m"]\n' +
        'maxRestarts = \'3/1m\'\nwait = true\nstrayScope = "any"',
    });
    const source = 'command in singlepoll.toml line 1';
    assert.deepEqual(config.command, { argv: ['python3', 'bot.py', '--x'], source });
    assert.deepEqual(
      [config.stopTimeoutMs, config.backoff, config.maxRestarts, config.wait, config.strayScope],
      [20_000, { minMs: 2_000, maxMs: 60_000 }, { count: 3, periodMs: 60_000 }, true, 'any'],
    );
    assert.equal(config.tokenSource, 'MINE in the environment');
  });
  test('what is refused, and where', async () => {
    const bad: [string, RegExp][] = [
      ['stopTimout = "3s"', /^stopTimout in .*line 1: there is no such option; did you mean stopTimeout\?$/],
      ['"stop-timeout" = "3s"', /did you mean stopTimeout\?/],
      ['zzzzzz = 1', /there is no such option; the options are command, envFile/],
      ['[supervisor]\nwait = true', /^supervisor in singlepoll\.toml line 1: there is no such option/],
      [
        `token = "${TOKEN}"`,
        /^token in .* line 1: a token does not go into this file.*tokenFile or tokenEnv/,
      ],
      [`"${TOKEN}" = 1`, /123456:….* there is no such option/],
      ['config = "x"', /cannot name another one/],
      [
        'backoff = "5s,1s"',
        /^backoff in .* line 1 is "5s,1s": MIN is greater than MAX\. Accepted: MIN,MAX such/,
      ],
      ['stopTimeout = true', /is "true": it is not a time/],
      ['stopTimeout = 2024-01-01', /is a date: it is not a text/],
      ['stopTimeout = {a = 1}', /is a table: it is not a text/],
      ['stray = [["x"]]', /is an array: it is not a text/],
      ['wait = 2', /is "2": it is neither yes nor no/],
      ['wait = ', /^singlepoll\.toml: line 1, column \d+: /],
      [`apiRoot = "${TOKEN}`, /^singlepoll\.toml: line 1, column \d+: /],
      ['wait = true\nwait = true', /^singlepoll\.toml: line 2/],
      ['command = "node bot.js"', /^command in .*line 1: .*command = \["node", "bot\.js"\]/],
      ['command = []', /^command in .*line 1: it is empty/],
      ['command = [""]', /first word, the program, is empty/],
      ['command = ["node", 1]', /not an array of texts/],
    ];
    // Also where the command line makes it harmless today.
    for (const [toml, message] of bad) assert.match(await mistake({ toml }), message);
  });
  test('paths in it are relative to its folder, others to the working folder', async () => {
    const files = {
      'etc/bot.toml': 'tokenFile = "token"\nenvFile = "bot.env"\nlogFile = "log"',
      'etc/token': TOKEN,
      'etc/bot.env': 'A=1',
      'my.env': 'A=2',
    };
    const flags = { config: 'etc/bot.toml' };
    const config = await good({ bare: true, argvCommand: ['x'], files, flags });
    assert.equal(config.tokenSource, 'the file etc/token');
    assert.deepEqual(config.envFileVars, { A: '1' });
    const etc = (name: string) => join(config.cwd, 'etc', name);
    assert.deepEqual(
      [config.configFile, config.envFile, config.logFile],
      [etc('bot.toml'), etc('bot.env'), etc('log')],
    );
    assert.deepEqual((await good({ files, flags: { ...flags, envFile: 'my.env' } })).envFileVars, { A: '2' });
  });
});

test('a file that was named must be there; a default one that is a folder is passed over', async () => {
  const named: [Case, RegExp][] = [
    [{ flags: { config: 'no.toml' } }, /^--config is "no\.toml": there is no such file/],
    [{ env: { SINGLEPOLL_ENV_FILE: 'no.env' } }, /^SINGLEPOLL_ENV_FILE in the environment is "no\.env"/],
    [{ flags: { envFile: '.' } }, /it is a folder/],
    [{ flags: { envFile: '~/x.env' } }, /~ is not expanded/],
  ];
  for (const [request, message] of named) assert.match(await mistake(request), message);
  const { warnings } = await good({ files: { '.env/bin/activate': '', 'singlepoll.toml/x': '' } });
  assert.deepEqual(warnings, [
    'singlepoll.toml is not read: it is a folder, not a file',
    '.env is not read: it is a folder, not a file',
  ]);
});

describe('every mistake at once', () => {
  test('each with its place, value and what is accepted', async () => {
    const found = await mistakes({
      bare: true,
      flags: { backoff: '5s,1s', stray: ['a(', '.*', 'fine_bot'], tokenEnv: TOKEN, wait: true },
      env: {
        SINGLEPOLL_TAKEOVER: 'yes',
        TELEGRAM_API_ROOT: 'http://u:hush@x',
        SINGLEPOLL_RESTART: 'sometimes',
      },
      files: { '.env': 'SINGLEPOLL_HEARTBEAT=0' },
      toml: 'maxRestarts = "x"\nlogfmt = 1',
    });
    assert.deepEqual(
      found.map((message) => message.split(/ is |:| and /, 1)[0]),
      [
        'logfmt in singlepoll.toml line 2',
        '--token-env',
        'TELEGRAM_API_ROOT in the environment',
        '--stray',
        '--stray',
        'SINGLEPOLL_RESTART in the environment',
        '--backoff',
        'maxRestarts in singlepoll.toml line 1',
        'SINGLEPOLL_HEARTBEAT in .env line 1',
        '--wait',
        'no command to run. Three ways to give one',
      ],
    );
    assert.doesNotMatch(found.join(), /hush/);
    for (const message of found.slice(1, 9)) assert.match(message, / is ".*": .*\. Accepted: ./);
    const { message, exitCode } = configFailure(['x', 'y\nz']);
    assert.deepEqual([message, exitCode], ['2 mistakes in the configuration:\n- x\n- y\n  z', 78]);
  });
  test('what is right one by one and wrong together, what has no effect, and empty flags', async () => {
    const wrong: [Case, RegExp][] = [
      [{ flags: { wait: true, takeover: true } }, /^--wait and --takeover exclude each other/],
      [
        { flags: { takeover: true }, env: { SINGLEPOLL_WAIT: '1' } },
        /^SINGLEPOLL_WAIT in the env.* and --takeover/,
      ],
      [{ flags: { keepWebhook: true, dropPending: true } }, /deleteWebhook/],
      [{ flags: { gateway: false, sealed: true } }, /^--no-gateway and --sealed exclude each other/],
      [{ flags: { backoff: '' } }, /^--backoff is "": /],
      [{ flags: { tokenFile: '' } }, /^--token-file is "": it is empty/],
    ];
    for (const [request, message] of wrong) assert.match(await mistake(request), message);
    const doubtful: [Case, RegExp][] = [
      [{ flags: { backoff: '2m,5m' } }, /a crash loop will never be noticed.*2m,5m/],
      [{ flags: { gateway: false, onRival: 'yield' } }, /^--on-rival has no effect with --no-gateway/],
      [{ toml: 'readyInStandby = "no"' }, /^readyInStandby in .* has no effect without --http/],
      [{ flags: { backoff: '2m,5m', restart: 'never' } }, /^$/],
      [{ flags: { maxRestarts: '3/10s' } }, /^$/],
    ];
    for (const [request, warning] of doubtful) assert.match((await good(request)).warnings.join(), warning);
  });
  test('names that nobody reads are warned of, those of a supervisor are not', async () => {
    const inherited = Object.fromEntries(
      ['DIR', 'BOT', 'RUN', 'SPAWN', 'EPOCH'].map((name) => [`SINGLEPOLL_${name}`, '1']),
    );
    assert.deepEqual((await good({ env: inherited })).warnings, []);
    const { warnings } = await good({
      env: { SINGLEPOLL_STOP_TIMOUT: '3s' },
      files: { '.env': 'SINGLEPOLL_ZZZZZZ=1\nSINGLEPOLL_CONFIG=x\nSINGLEPOLL_ENV_FILE=y\nSINGLEPOLL_DIR=z' },
    });
    assert.deepEqual(warnings.slice(0, 2), [
      'SINGLEPOLL_STOP_TIMOUT in the environment means nothing; did you mean SINGLEPOLL_STOP_TIMEOUT?',
      'SINGLEPOLL_ZZZZZZ in .env means nothing',
    ]);
    assert.equal(warnings.length, 5);
    // The env file can't say where the files are.
    for (const warning of warnings.slice(2)) assert.match(warning, / in \.env is not read: /);
  });
});

describe('command', () => {
  const usual = { bare: true, env: { BOT_TOKEN: TOKEN } };
  test('comes word for word from the command line, then TOML, then a line of the Procfile', async () => {
    const argvCommand = ['node', '', '--wait', 'a b', '$X', '*'];
    const toml = 'command = ["t"]';
    const files = { Procfile: 'worker: p' };
    assert.deepEqual((await good({ argvCommand, files, toml })).command, {
      argv: argvCommand,
      source: 'command line',
    });
    assert.deepEqual((await good({ ...usual, files, toml })).command?.argv, ['t']);
    const lines: [string, string | null][] = [
      ['web: w\nbot: b\nworker:  x $PORT && y  \n', 'x $PORT && y'],
      ['web: w\nbot: b\n', 'b'],
      ['# worker: no\nrelease: r\r\nweb: w --a "b: c"\r\n', 'w --a "b: c"'],
      ['clock: c\nworker:\n', null],
      ['', null],
    ];
    for (const [Procfile, line] of lines) {
      const request = { ...usual, files: { Procfile } };
      if (line === null) assert.match(await mistake(request), /Procfile has no worker:, bot: or web: line/);
      else assert.deepEqual((await good(request)).command?.argv, ['sh', '-c', line]);
    }
  });
  test('none is an error that shows three ways; not for the sandbox, for reset and for those that run nothing', async () => {
    const message = await mistake(usual);
    for (const way of [
      'singlepoll start -- node bot.js',
      'command = ["node", "bot.js"]',
      'worker: node bot.js',
    ])
      assert.ok(message.includes(way));
    assert.equal((await good({ bare: true, flags: { sandbox: true } })).command, null);
    assert.equal((await good({ ...usual, command: 'reset' })).command, null);
    assert.equal((await good({ command: 'status', files: { Procfile: 'worker: x' } })).command, null);
    // A file that can't be read is said, not also what may stand in it.
    await mistake({ bare: true, toml: 'x' });
    assert.match((await good({ argvCommand: ['bot', `--token=${TOKEN}`] })).warnings.join(), /process list/);
  });
});

describe('POLLING_ENABLED', () => {
  test('exactly 1 polls; what reads like a yes is doubted', async () => {
    const cases: [string, boolean, boolean][] = [
      ['1', true, false],
      ...['', '0', 'false', '11', '2'].map((it): [string, boolean, boolean] => [it, false, false]),
      ...['true', 'On', 'YES', '1 ', '"1"', '01'].map((it): [string, boolean, boolean] => [it, false, true]),
    ];
    for (const [value, polling, doubted] of cases) {
      const config = await good({ env: { POLLING_ENABLED: value } });
      assert.deepEqual([config.polling, config.pollingDoubt !== null], [polling, doubted], value);
    }
    const files = { '.env': 'POLLING_ENABLED=yes' };
    assert.match(
      (await good({ files })).pollingDoubt ?? '',
      /^POLLING_ENABLED in \.env is "yes", which reads/,
    );
    assert.equal((await good({ files, env: { POLLING_ENABLED: '1' } })).polling, true);
  });
  test('deploy mode needs no token, and a wrong one is only a warning', async () => {
    const env = { POLLING_ENABLED: '0' };
    const deploy = { bare: true, argvCommand: ['x'] };
    assert.equal((await good({ ...deploy, env })).botId, null);
    assert.equal((await good({ env })).botId, 123456);
    for (const tokens of [{ BOT_TOKEN: 'nonsense1' }, { BOT_TOKEN: TOKEN, TELEGRAM_TOKEN: OTHER }]) {
      const { token, warnings } = await good({ ...deploy, env: { ...env, ...tokens } });
      assert.deepEqual([token, warnings.length], [null, 1]);
    }
  });
});

describe('token', () => {
  test('none is an error that says where was looked; two bots name both places', async () => {
    const bare = { bare: true, argvCommand: ['x'] };
    assert.match(await mistake(bare), /^no bot token: .*and there is no \.env in .*--token-file.*--sandbox/s);
    assert.match(await mistake({ ...bare, files: { '.env': 'A=1' } }), /nor in \.env/);
    const two = { files: { '.env': `TELEGRAM_BOT_TOKEN=${OTHER}` } };
    assert.match(
      await mistake(two),
      /BOT_TOKEN in the environment is bot 123456, TELEGRAM_BOT_TOKEN in \.env is/,
    );
  });
  test('the env file gives it, whatever else it holds', async () => {
    const files = { '.env': `\uFEFFexport BOT_TOKEN="${TOKEN}" # mine\r\nA=1\r\nnonsense\r\n` };
    const config = await good({ bare: true, argvCommand: ['x'], files });
    assert.deepEqual([config.botId, config.tokenSource], [123456, 'BOT_TOKEN in .env']);
    assert.deepEqual(config.envFileVars, { BOT_TOKEN: TOKEN, A: '1' });
    assert.deepEqual(config.warnings, ['.env line 3: it is not NAME=value']);
  });
  test('the sandbox ignores it, and the API root, and says so', async () => {
    const config = await good({
      flags: { sandbox: true, tokenFile: 'nothing' },
      env: { TELEGRAM_API_ROOT: 'http://x', TELEGRAM_TOKEN: OTHER },
    });
    assert.deepEqual([config.token, config.botId, config.apiRoot], [null, null, 'https://api.telegram.org']);
    assert.deepEqual(config.tokenVariables, ['BOT_TOKEN', 'TELEGRAM_TOKEN']);
    assert.deepEqual(config.warnings, [
      '--sandbox has a bot of its own: the token given (--token-file, BOT_TOKEN, TELEGRAM_TOKEN) is not used',
      '--sandbox is its own Bot API: TELEGRAM_API_ROOT in the environment is not used',
    ]);
  });
});

test('each command needs what it needs, and works beside mistakes that do not concern it', async () => {
  for (const command of ['status', 'stop', 'restart', 'logs'] as const)
    assert.equal((await good({ bare: true, command })).botId, null);
  for (const command of ['who', 'ping', 'reset'] as const)
    assert.match(await mistake({ bare: true, command }), /^no bot token/);
  for (const command of ['status', 'stop', 'who', 'reset'] as const)
    assert.match(await mistake({ command, env: { BOT_TOKEN: 'nonsense1' } }), /no colon/);
  for (const toml of ['nonsense', 'backoff = "x"\nwait = true\ntakeover = true\nstray = "("\nzzz = 1']) {
    assert.ok((await mistakes({ toml })).length > 0);
    const { botId, warnings } = await good({ toml, command: 'status' });
    assert.ok(botId === 123456 && warnings.length > 0);
  }
});

test('the admin chat, by environment and env file; a malformed one stops ping only', async () => {
  const cases: [Record<string, string>, string][] = [
    [{ ...CHAT, TELEGRAM_ADMIN_CHAT_ID: '43' }, '42'],
    [{ TELEGRAM_ADMIN_CHAT_ID: ' -1001234567890 ' }, '-1001234567890'],
    [{ TELEGRAM_ADMIN_CHAT_ID: '@my_channel' }, '@my_channel'],
    [{ ASSISTANT_ADMIN_TELEGRAM_ID: '' }, '7'],
  ];
  for (const [env, id] of cases)
    assert.equal((await good({ env, files: { '.env': 'TELEGRAM_ADMIN_CHAT_ID=7' } })).adminChatId, id);
  const env = { ASSISTANT_ADMIN_TELEGRAM_ID: 'me' };
  assert.match((await good({ env })).warnings.join(), /neither a chat id/);
  assert.match(await mistake({ env, command: 'ping' }), /neither a chat id/);
});

describe('alerts', () => {
  const SECRET = 'https://alice:pa55@hooks.slack.com/services/T000/B000/s3cret?k=s3cret';
  test('to the admin chat, unless taken back; not in deploy mode', async () => {
    const usual = { chat: '42', url: null, cooldownMs: 900_000, digest: null };
    assert.deepEqual((await good({ env: CHAT })).alerts, usual);
    assert.equal((await good({ env: CHAT, flags: { alerts: false } })).alerts, null);
    const deploy = { ...CHAT, POLLING_ENABLED: '0' };
    assert.equal((await good({ env: deploy })).alerts, null);
    assert.equal(
      (await good({ env: deploy, flags: { alertUrl: 'http://127.0.0.1:9/' } })).alerts?.chat,
      null,
    );
  });
  test('the URL from a variable or the config file; the format by its host', async () => {
    for (const [url, format] of [
      ['https://hooks.slack.com/services/T/B/x', 'slack'],
      ['https://discord.com/api/webhooks/1/x', 'discord'],
      ['https://ntfy.sh/my-topic', 'ntfy'],
      ['https://discord.com.example.com/api/webhooks/1/x', 'json'],
    ]) {
      const { alerts, warnings } = await good({ env: { HOOK: url }, flags: { alertUrl: 'env:HOOK' } });
      assert.deepEqual([alerts?.url, warnings], [{ url, format }, []]);
    }
    const url = 'https://push.example.com/t';
    const toml = `alertUrl = "${url}"\nalertFormat = "ntfy"\ndigest = "07:30"\ndigestZone = "Asia/Tokyo"`;
    assert.deepEqual((await good({ toml })).alerts, {
      ...{ chat: null, cooldownMs: 900_000, url: { url, format: 'ntfy' } },
      digest: { hour: 7, minute: 30, zone: 'Asia/Tokyo' },
    });
  });
  test('nothing of the URL but its host is shown', async () => {
    const { settings, warnings } = await good({ flags: { alertUrl: SECRET } });
    const wrong = await mistakes({ flags: { alertUrl: SECRET.replace('https', 'ftp') } });
    const shown = JSON.stringify([settings, warnings, wrong]);
    for (const pattern of [/hooks\.slack\.com\/…/, /shows in process lists/, /neither http nor https/])
      assert.match(shown, pattern);
    assert.doesNotMatch(shown, /pa55|s3cret|B000/);
  });
  test('what is wrong, and what has no effect', async () => {
    const wrong: [LoadRequest['flags'], RegExp][] = [
      [{ alertUrl: 'env:NOPE' }, /NOPE is not set/],
      [{ alertUrl: 'hooks.slack.com' }, /is no URL/],
      [{ alertUrl: 'https://ntfy.sh/' }, /without a topic/],
      [{ alertUrl: 'http://localhost/x', alertFormat: 'jsno' }, /did you mean json\?/],
      [{ digest: '25:00' }, /no such time/],
      [{ digestZone: 'Mars/Olympus' }, /no such time zone/],
      [{ alertCooldown: '0' }, /zero/],
    ];
    for (const [flags, message] of wrong) assert.match(await mistake({ flags }), message);
    const { warnings } = await good({ flags: { digest: '09:00', alertFormat: 'json' } });
    assert.match(warnings.join(), /--alert-format has no effect without --alert-url/);
    assert.match(warnings.join(), /--digest has no effect: there is neither an admin chat/);
    const zone = await good({ env: CHAT, flags: { digestZone: 'UTC' } });
    assert.match(zone.warnings.join(), /--digest-zone has no effect without --digest/);
  });
});
