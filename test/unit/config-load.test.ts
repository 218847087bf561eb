/** The loader: which place wins, that every mistake is said at once with its place, what each command needs. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type Config, type Loaded, type LoadRequest, loadConfig } from '../../src/config/load.ts';
import { configFailure } from '../../src/config/messages.ts';

const TOKEN = `123456:${'A'.repeat(35)}`;
const OTHER = `654321:${'B'.repeat(35)}`;
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

type Case = Partial<LoadRequest> & { files?: Record<string, string>; bare?: boolean };

/** Loads `start -- node bot.js` with a token in the environment, unless `bare` or said otherwise. */
async function load({ files, bare, ...request }: Case = {}): Promise<Loaded> {
  const usual = bare ? {} : { BOT_TOKEN: TOKEN };
  const loaded = await loadConfig({
    command: 'start',
    flags: {},
    argvCommand: bare ? [] : ['node', 'bot.js'],
    cwd: request.cwd ?? project(files),
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

async function mistakes(request: Case): Promise<string[]> {
  const loaded = await load(request);
  assert.ok(!loaded.ok, 'was accepted');
  return [...loaded.errors];
}

describe('defaults', () => {
  test('are those of the contract', async () => {
    const { warnings, cwd, ...config } = await good();
    assert.deepEqual(config, {
      command: { argv: ['node', 'bot.js'], source: 'command line' },
      botId: 123456,
      token: TOKEN,
      tokenSource: 'BOT_TOKEN in the environment',
      tokenVariables: ['BOT_TOKEN'],
      apiRoot: 'https://api.telegram.org',
      apiRootSource: 'default',
      polling: true,
      pollingDoubt: null,
      adminChatId: null,
      envFile: null,
      envFileVars: {},
      configFile: null,
      stray: [],
      strayScope: 'project',
      dryRun: false,
      dropPending: false,
      keepWebhook: false,
      takeover: false,
      wait: false,
      gateway: true,
      gatewayPort: null,
      sealed: false,
      lease: null,
      noWait: false,
      onRival: null,
      rivalAfterMs: 90_000,
      deafAfterMs: 180_000,
      requireGateway: false,
      allowSetWebhook: false,
      restart: 'always',
      backoff: { minMs: 1_000, maxMs: 30_000 },
      maxRestarts: { count: 10, periodMs: 300_000 },
      stopTimeoutMs: 15_000,
      heartbeatMs: 60_000,
      detach: false,
      startTimeoutMs: 90_000,
      logFile: null,
      logSize: 10 * 1024 * 1024,
      logKeep: 5,
      http: null,
      readyInStandby: true,
      alerts: null,
      config: null,
      tokenFile: null,
      tokenEnv: null,
      leaseProfile: 'default',
      leaseTtl: null,
      alertUrl: null,
      alertFormat: null,
      alertCooldownMs: 900_000,
      digest: null,
      digestZone: null,
      logFormat: 'text',
      sandbox: false,
      settings: [],
    });
    assert.deepEqual(warnings, []);
  });
  test('the object is frozen all the way down', async () => {
    const loaded = await load({ flags: { stray: ['x_bot'] } });
    assert.ok(loaded.ok);
    const { config } = loaded;
    for (const part of [
      config,
      config.command,
      config.command?.argv,
      config.stray,
      config.settings,
      config.settings[0],
      config.envFileVars,
    ]) {
      assert.ok(Object.isFrozen(part));
    }
  });
});

describe('strength', () => {
  const everywhere = {
    flags: { stopTimeout: '1s' },
    env: { SINGLEPOLL_STOP_TIMEOUT: '2s' },
    files: { '.env': '\nSINGLEPOLL_STOP_TIMEOUT=3s', 'singlepoll.toml': '\n\nstopTimeout = "4s"' },
  };
  const cases: [string, Case, number, string | undefined][] = [
    ['flag', everywhere, 1_000, '--stop-timeout'],
    ['then environment', { ...everywhere, flags: {} }, 2_000, 'SINGLEPOLL_STOP_TIMEOUT in the environment'],
    ['then env file', { files: everywhere.files }, 3_000, 'SINGLEPOLL_STOP_TIMEOUT in .env line 2'],
    [
      'then TOML',
      { files: { 'singlepoll.toml': everywhere.files['singlepoll.toml'] } },
      4_000,
      'stopTimeout in singlepoll.toml line 3',
    ],
    ['then default', {}, 15_000, undefined],
    [
      'an empty variable sets nothing',
      { ...everywhere, flags: {}, env: { SINGLEPOLL_STOP_TIMEOUT: '' } },
      3_000,
      'SINGLEPOLL_STOP_TIMEOUT in .env line 2',
    ],
  ];
  for (const [title, request, ms, from] of cases) {
    test(title, async () => {
      const { stopTimeoutMs, settings } = await good(request);
      assert.equal(stopTimeoutMs, ms);
      assert.equal(settings[0]?.from, from);
    });
  }
  test('a flag takes back what a variable or the file says', async () => {
    assert.equal((await good({ flags: { wait: false }, env: { SINGLEPOLL_WAIT: '1' } })).wait, false);
    const env = { ASSISTANT_ADMIN_TELEGRAM_ID: '42', SINGLEPOLL_NO_GATEWAY: '1', SINGLEPOLL_NO_ALERTS: '1' };
    const files = { 'singlepoll.toml': 'noGateway = true\nnoAlerts = true' };
    for (const place of [{ env }, { files, env: { ASSISTANT_ADMIN_TELEGRAM_ID: '42' } }]) {
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
      [{ files: { 'singlepoll.toml': 'noGateway = true' } }, 'noGateway in singlepoll.toml line 1'],
      [{ files: { 'singlepoll.toml': 'gateway = false' } }, 'gateway in singlepoll.toml line 1'],
    ];
    for (const [request, from] of off) {
      const { gateway, settings, warnings } = await good(request);
      assert.deepEqual([gateway, warnings], [false, []], from);
      assert.deepEqual(settings, [{ option: 'gateway', words: '--no-gateway', from }]);
    }
    assert.equal((await good({ env: { SINGLEPOLL_NO_GATEWAY: '0' } })).gateway, true);
    assert.equal((await good({ files: { 'singlepoll.toml': 'noWait = true' } })).noWait, true);
  });
  test('a weaker mistake does not matter', async () => {
    assert.equal(
      (await good({ flags: { heartbeat: '5s' }, env: { SINGLEPOLL_HEARTBEAT: 'x' } })).heartbeatMs,
      5_000,
    );
  });
  test('lists replace, a variable has one value per line, TOML an array or a text', async () => {
    const files = { 'singlepoll.toml': 'stray = ["toml_bot", "b,c"]' };
    assert.deepEqual((await good({ files })).stray, ['toml_bot', 'b,c']);
    assert.deepEqual((await good({ files: { 'singlepoll.toml': 'stray = "one"' } })).stray, ['one']);
    assert.deepEqual((await good({ files, env: { SINGLEPOLL_STRAY: 'a b\n\nc,d:e\r\n' } })).stray, [
      'a b',
      'c,d:e',
    ]);
    assert.deepEqual((await good({ files, flags: { stray: ['x_bot'] } })).stray, ['x_bot']);
  });
  test('the API root: flag, twin, TELEGRAM_API_ROOT, env file, TOML', async () => {
    const files = { '.env': 'TELEGRAM_API_ROOT=http://file/', 'singlepoll.toml': 'apiRoot = "http://toml"' };
    const env = { TELEGRAM_API_ROOT: 'http://general', SINGLEPOLL_API_ROOT: 'http://twin' };
    const roots = [
      await good({ files, env, flags: { apiRoot: 'http://flag/x/' } }),
      await good({ files, env }),
      await good({ files, env: { TELEGRAM_API_ROOT: 'http://general' } }),
      await good({ files }),
      await good({ files: { 'singlepoll.toml': files['singlepoll.toml'] } }),
    ];
    assert.deepEqual(
      roots.map((config) => `${config.apiRoot} ${config.apiRootSource}`),
      [
        'http://flag/x --api-root',
        'http://twin SINGLEPOLL_API_ROOT in the environment',
        'http://general TELEGRAM_API_ROOT in the environment',
        'http://file TELEGRAM_API_ROOT in .env line 1',
        'http://toml apiRoot in singlepoll.toml line 1',
      ],
    );
  });
  for (const [text, yes] of [
    ['1', true],
    ['TRUE', true],
    ['yes', true],
    [' on ', true],
    ['0', false],
    ['false', false],
    ['No', false],
    ['off', false],
    ['', false],
  ] as const) {
    test(`a flag's variable set to "${text}" is ${yes}`, async () => {
      assert.equal((await good({ env: { SINGLEPOLL_DRY_RUN: text } })).dryRun, yes);
    });
  }
});

describe('TOML', () => {
  test('every kind of value', async () => {
    const config = await good({
      bare: true,
      env: { MINE: TOKEN },
      files: {
        'singlepoll.toml': [
          'command = ["python3", "bot.py", "--x"]',
          'tokenEnv = "MINE"',
          'stopTimeout = 20',
          'backoff = ["2s", "1m"]',
          "maxRestarts = '3/1m'",
          'wait = true',
          'strayScope = "any"',
        ].join('\n'),
      },
    });
    assert.deepEqual(config.command, {
      argv: ['python3', 'bot.py', '--x'],
      source: 'command in singlepoll.toml line 1',
    });
    assert.deepEqual(
      [config.stopTimeoutMs, config.backoff, config.maxRestarts, config.wait, config.strayScope],
      [20_000, { minMs: 2_000, maxMs: 60_000 }, { count: 3, periodMs: 60_000 }, true, 'any'],
    );
    assert.equal(config.tokenSource, 'MINE in the environment');
  });
  const bad: [string, RegExp][] = [
    [
      'stopTimout = "3s"',
      /^stopTimout in singlepoll\.toml line 1: there is no such option; did you mean stopTimeout\?$/,
    ],
    ['"stop-timeout" = "3s"', /did you mean stopTimeout\?/],
    ['zzzzzz = 1', /there is no such option; the options are command, envFile/],
    ['[supervisor]\nwait = true', /^supervisor in singlepoll\.toml line 1: there is no such option/],
    [
      `token = "${TOKEN}"`,
      /^token in singlepoll\.toml line 1: a token does not go into this file.*tokenFile or tokenEnv/,
    ],
    [`"${TOKEN}" = 1`, /123456:….* there is no such option/],
    ['config = "x"', /cannot name another one/],
    [
      'backoff = "5s,1s"',
      /^backoff in singlepoll\.toml line 1 is "5s,1s": MIN is greater than MAX\. Accepted: MIN,MAX such as 1s,30s/,
    ],
    ['stopTimeout = true', /is true: it is not a text/],
    ['stopTimeout = ["1s"]', /is an array: it is not a text/],
    ['stopTimeout = 2024-01-01', /is a date: it is not a text/],
    ['stopTimeout = {a = 1}', /is a table: it is not a text/],
    ['stray = [["x"]]', /is an array: it is neither a text nor an array of texts/],
    ['wait = 1', /is 1: it is neither yes nor no/],
    ['wait = ', /^singlepoll\.toml: line 1, column \d+: /],
    [`apiRoot = "${TOKEN}`, /^singlepoll\.toml: line 1, column \d+: /],
    ['wait = true\nwait = true', /^singlepoll\.toml: line 2/],
  ];
  for (const [text, message] of bad) {
    test(`refuses ${text.replace(TOKEN, '<token>').replace('\n', '; ')}`, async () => {
      const [first, ...more] = await mistakes({ files: { 'singlepoll.toml': text } });
      assert.match(first!, message);
      assert.deepEqual(more, []);
    });
  }
  for (const [text, message] of [
    ['command = "node bot.js"', /command = \["node", "bot\.js"\]/],
    ['command = []', /it is empty/],
    ['command = [""]', /first word, the program, is empty/],
    ['command = ["node", 1]', /not an array of texts/],
  ] as const) {
    test(`refuses ${text}`, async () => {
      const [first, ...more] = await mistakes({
        bare: true,
        env: { BOT_TOKEN: TOKEN },
        files: { 'singlepoll.toml': text },
      });
      assert.match(first!, /^command in singlepoll\.toml line 1: /);
      assert.match(first!, message);
      assert.deepEqual(more, []);
    });
  }
  test('paths in it are relative to its folder, others to the working folder', async () => {
    const files = {
      'etc/bot.toml': 'tokenFile = "token"\nenvFile = "bot.env"',
      'etc/token': TOKEN,
      'etc/bot.env': 'A=1',
      'my.env': 'A=2',
    };
    const config = await good({ bare: true, argvCommand: ['x'], files, flags: { config: 'etc/bot.toml' } });
    assert.equal(config.tokenSource, 'the file etc/token');
    assert.deepEqual(config.envFileVars, { A: '1' });
    assert.equal(config.configFile, join(config.cwd, 'etc/bot.toml'));
    assert.equal(config.envFile, join(config.cwd, 'etc/bot.env'));
    assert.deepEqual(
      (await good({ files, flags: { config: 'etc/bot.toml', envFile: 'my.env' } })).envFileVars,
      { A: '2' },
    );
  });
  test('a file that was named must be there', async () => {
    assert.match(
      (await mistakes({ flags: { config: 'no.toml' } }))[0]!,
      /^--config is "no\.toml": there is no such file/,
    );
    assert.match(
      (await mistakes({ env: { SINGLEPOLL_ENV_FILE: 'no.env' } }))[0]!,
      /^SINGLEPOLL_ENV_FILE in the environment is "no\.env"/,
    );
    assert.match((await mistakes({ flags: { envFile: '.' } }))[0]!, /it is a folder/);
    assert.match((await mistakes({ flags: { envFile: '~/x.env' } }))[0]!, /~ is not expanded/);
  });
  test('a default file that is a folder is passed over', async () => {
    const { warnings } = await good({ files: { '.env/bin/activate': '', 'singlepoll.toml/x': '' } });
    assert.deepEqual(warnings.length, 2);
    assert.match(
      warnings.join('\n'),
      /^singlepoll\.toml is not read: it is a folder.*\n\.env is not read: it is a folder/,
    );
  });
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
      files: { '.env': 'SINGLEPOLL_HEARTBEAT=0', 'singlepoll.toml': 'maxRestarts = "x"\nlogfmt = 1' },
    });
    assert.deepEqual(
      found.map((message) =>
        message.split(' is ', 1)[0]!.split(':', 1)[0]!.split(' and ', 1)[0]!.slice(0, 45),
      ),
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
    const values = found.slice(1, 9);
    for (const message of values) assert.match(message, / is ".*": .*\. Accepted: ./);
    assert.match(configFailure(['x', 'y\nz']).message, /^2 mistakes in the configuration:\n- x\n- y\n {2}z$/);
  });
  const contradictory: [string, Case, RegExp][] = [
    [
      '--wait and --takeover',
      { flags: { wait: true, takeover: true } },
      /^--wait and --takeover exclude each other/,
    ],
    [
      'over two places',
      { flags: { takeover: true }, env: { SINGLEPOLL_WAIT: '1' } },
      /^SINGLEPOLL_WAIT in the environment and --takeover/,
    ],
    [
      '--keep-webhook and --drop-pending',
      { flags: { keepWebhook: true, dropPending: true } },
      /deleteWebhook/,
    ],
  ];
  for (const [title, request, message] of contradictory) {
    test(`contradiction: ${title}`, async () => assert.match((await mistakes(request))[0]!, message));
  }
  test('a backoff that hides every crash loop is warned of', async () => {
    assert.match(
      (await good({ flags: { backoff: '2m,5m' } })).warnings.join(),
      /a crash loop will never be noticed.*2m,5m/,
    );
    assert.deepEqual((await good({ flags: { backoff: '2m,5m', restart: 'never' } })).warnings, []);
    assert.deepEqual((await good({ flags: { maxRestarts: '3/10s' } })).warnings, []);
  });
  test('an empty flag is a mistake, not a default', async () => {
    assert.match((await mistakes({ flags: { backoff: '' } }))[0]!, /^--backoff is "": /);
    assert.match((await mistakes({ flags: { tokenFile: '' } }))[0]!, /^--token-file is "": it is empty/);
  });
});

describe('names that nobody reads', () => {
  test('SINGLEPOLL_* variables are warned of, those of a supervisor are not', async () => {
    const inherited = {
      SINGLEPOLL_DIR: '/x',
      SINGLEPOLL_BOT: '1',
      SINGLEPOLL_RUN: 'r',
      SINGLEPOLL_SPAWN: '1',
      SINGLEPOLL_EPOCH: '1',
    };
    assert.deepEqual((await good({ env: inherited })).warnings, []);
    const { warnings } = await good({
      env: { SINGLEPOLL_STOP_TIMOUT: '3s' },
      files: { '.env': 'SINGLEPOLL_ZZZZZZ=1' },
    });
    assert.deepEqual(warnings, [
      'SINGLEPOLL_STOP_TIMOUT in the environment means nothing; did you mean SINGLEPOLL_STOP_TIMEOUT?',
      'SINGLEPOLL_ZZZZZZ in .env means nothing',
    ]);
  });
  test('the env file cannot say where the files are', async () => {
    const { warnings } = await good({
      files: { '.env': 'SINGLEPOLL_CONFIG=x\nSINGLEPOLL_ENV_FILE=y\nSINGLEPOLL_DIR=z' },
    });
    assert.equal(warnings.length, 3);
    assert.ok(warnings.every((warning) => / in \.env is not read: /.test(warning)));
  });
});

describe('command', () => {
  const usual = { BOT_TOKEN: TOKEN };
  test('is kept word for word', async () => {
    const argvCommand = ['node', '', '--wait', 'a b', '$X', '*'];
    assert.deepEqual((await good({ argvCommand })).command?.argv, argvCommand);
  });
  test('comes from the command line, then TOML, then Procfile', async () => {
    const files = { 'singlepoll.toml': 'command = ["t"]', Procfile: 'worker: p' };
    assert.equal((await good({ files })).command?.source, 'command line');
    assert.deepEqual((await good({ bare: true, env: usual, files })).command?.argv, ['t']);
    assert.deepEqual((await good({ bare: true, env: usual, files: { Procfile: files.Procfile } })).command, {
      argv: ['sh', '-c', 'p'],
      source: 'worker: in Procfile',
    });
  });
  const procfiles: [string, string | null][] = [
    ['web: w\nbot: b\nworker:  x $PORT && y  \n', 'x $PORT && y'],
    ['web: w\nbot: b\n', 'b'],
    ['# worker: no\nrelease: r\r\nweb: w --a "b: c"\r\n', 'w --a "b: c"'],
    ['clock: c\nworker:\n', null],
    ['', null],
  ];
  for (const [text, line] of procfiles) {
    test(`Procfile ${JSON.stringify(text)}`, async () => {
      const request = { bare: true, env: usual, files: { Procfile: text } };
      if (line !== null) assert.deepEqual((await good(request)).command?.argv, ['sh', '-c', line]);
      else
        assert.match(
          (await mistakes(request))[0]!,
          /no command to run \(the Procfile has no worker:, bot: or web: line/,
        );
    });
  }
  test('none: the error shows three ways', async () => {
    const [message] = await mistakes({ bare: true, env: usual });
    for (const way of [
      'singlepoll start -- node bot.js',
      'command = ["node", "bot.js"]',
      'worker: node bot.js',
    ]) {
      assert.ok(message!.includes(way));
    }
    assert.equal(configFailure([message!]).exitCode, 78);
  });
  test('a file that cannot be read is said, not also what may stand in it', async () => {
    assert.deepEqual((await mistakes({ bare: true, files: { 'singlepoll.toml': 'x' } })).length, 1);
  });
  test('the sandbox and reset can do without; others never look', async () => {
    assert.equal((await good({ bare: true, flags: { sandbox: true } })).command, null);
    assert.equal((await good({ bare: true, env: usual, command: 'reset' })).command, null);
    assert.equal((await good({ command: 'status', files: { Procfile: 'worker: x' } })).command, null);
  });
  test('a token in it is warned of', async () => {
    assert.match((await good({ argvCommand: ['bot', `--token=${TOKEN}`] })).warnings.join(), /process list/);
  });
});

describe('POLLING_ENABLED', () => {
  const cases: [string, boolean, boolean][] = [
    ['1', true, false],
    ['', false, false],
    ['0', false, false],
    ['false', false, false],
    ['true', false, true],
    ['On', false, true],
    ['YES', false, true],
    ['1 ', false, true],
    ['"1"', false, true],
    ['01', false, true],
    ['11', false, false],
    ['2', false, false],
  ];
  for (const [value, polling, looksLikeYes] of cases) {
    test(`"${value}"`, async () => {
      const config = await good({ env: { POLLING_ENABLED: value } });
      assert.deepEqual([config.polling, config.pollingDoubt !== null], [polling, looksLikeYes]);
    });
  }
  test('environment before env file', async () => {
    const files = { '.env': 'POLLING_ENABLED=0' };
    assert.equal((await good({ files })).polling, false);
    assert.match(
      (await good({ files: { '.env': 'POLLING_ENABLED=yes' } })).pollingDoubt ?? '',
      /^POLLING_ENABLED in \.env is "yes", which reads like a yes/,
    );
    assert.equal((await good({ files, env: { POLLING_ENABLED: '1' } })).polling, true);
  });
  test('deploy mode needs no token, and a wrong one is only a warning', async () => {
    const deploy = { bare: true, argvCommand: ['x'] };
    assert.equal((await good({ ...deploy, env: { POLLING_ENABLED: '0' } })).botId, null);
    const wrong: Record<string, string>[] = [
      { BOT_TOKEN: 'nonsense1' },
      { BOT_TOKEN: TOKEN, TELEGRAM_TOKEN: OTHER },
    ];
    for (const tokens of wrong) {
      const config = await good({ ...deploy, env: { POLLING_ENABLED: '0', ...tokens } });
      assert.deepEqual([config.token, config.warnings.length], [null, 1]);
    }
    assert.equal((await good({ env: { POLLING_ENABLED: '0' } })).botId, 123456);
  });
});

describe('token', () => {
  test('none is an error that says where was looked', async () => {
    const bare = { bare: true, argvCommand: ['x'] };
    assert.match(
      (await mistakes(bare))[0]!,
      /^no bot token: .*and there is no \.env in .*--token-file.*--sandbox/s,
    );
    assert.match((await mistakes({ ...bare, files: { '.env': 'A=1' } }))[0]!, /nor in \.env/);
  });
  test('two bots', async () => {
    const [message] = await mistakes({ files: { '.env': `TELEGRAM_BOT_TOKEN=${OTHER}` } });
    assert.match(
      message!,
      /BOT_TOKEN in the environment is bot 123456, TELEGRAM_BOT_TOKEN in \.env is bot 654321/,
    );
  });
  test('the env file gives it, whatever else it holds', async () => {
    const config = await good({
      bare: true,
      argvCommand: ['x'],
      files: { '.env': `\uFEFFexport BOT_TOKEN="${TOKEN}" # mine\r\nA=1\r\nnonsense\r\n` },
    });
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

describe('other commands', () => {
  test('status, stop, restart, logs do without a token; who, ping, reset do not', async () => {
    for (const command of ['status', 'stop', 'restart', 'logs'] as const) {
      assert.equal((await good({ bare: true, command })).botId, null);
    }
    for (const command of ['who', 'ping', 'reset'] as const) {
      assert.match((await mistakes({ bare: true, command }))[0]!, /^no bot token/);
    }
  });
  test('status works beside a configuration that start refuses', async () => {
    for (const text of ['nonsense', 'backoff = "x"\nwait = true\ntakeover = true\nstray = "("\nzzz = 1']) {
      const request = { files: { 'singlepoll.toml': text } };
      assert.ok((await mistakes(request)).length > 0);
      const config = await good({ ...request, command: 'status' });
      assert.equal(config.botId, 123456);
      assert.ok(config.warnings.length > 0);
    }
  });
  test('a malformed token is an error for each', async () => {
    for (const command of ['status', 'stop', 'who', 'reset'] as const) {
      assert.match((await mistakes({ command, env: { BOT_TOKEN: 'nonsense1' } }))[0]!, /no colon/);
    }
  });
});

describe('admin chat', () => {
  const cases: [Record<string, string>, string | null][] = [
    [{ ASSISTANT_ADMIN_TELEGRAM_ID: '42', TELEGRAM_ADMIN_CHAT_ID: '43' }, '42'],
    [{ TELEGRAM_ADMIN_CHAT_ID: ' -1001234567890 ' }, '-1001234567890'],
    [{ TELEGRAM_ADMIN_CHAT_ID: '@my_channel' }, '@my_channel'],
    [{ ASSISTANT_ADMIN_TELEGRAM_ID: '' }, '7'],
    [{}, '7'],
  ];
  for (const [env, id] of cases) {
    test(JSON.stringify(env), async () => {
      assert.equal((await good({ env, files: { '.env': 'TELEGRAM_ADMIN_CHAT_ID=7' } })).adminChatId, id);
    });
  }
  test('a malformed one stops ping only', async () => {
    const env = { ASSISTANT_ADMIN_TELEGRAM_ID: 'me' };
    assert.match((await good({ env })).warnings.join(), /neither a chat id/);
    assert.match((await mistakes({ env, command: 'ping' }))[0]!, /neither a chat id/);
  });
});

describe('alerts', () => {
  const CHAT = { ASSISTANT_ADMIN_TELEGRAM_ID: '42' };
  const SECRET = 'https://alice:pa55@hooks.slack.com/services/T000/B000/s3cret?k=s3cret';

  test('to the admin chat, unless taken back; not in deploy mode', async () => {
    assert.deepEqual((await good({ env: CHAT })).alerts, {
      ...{ chat: '42', url: null, cooldownMs: 900_000, digest: null },
    });
    assert.equal((await good({ env: CHAT, flags: { alerts: false } })).alerts, null);
    assert.equal((await good({ env: { ...CHAT, SINGLEPOLL_NO_ALERTS: '1' } })).alerts, null);
    assert.equal((await good({ env: { ...CHAT, POLLING_ENABLED: '0' } })).alerts, null);
    const url = { alertUrl: 'http://127.0.0.1:9/' };
    assert.equal((await good({ env: { ...CHAT, POLLING_ENABLED: '0' }, flags: url })).alerts?.chat, null);
  });
  test('the URL from a variable or the config file; the format by its host', async () => {
    const format = async (url: string) => {
      const { alerts, warnings } = await good({ env: { HOOK: url }, flags: { alertUrl: 'env:HOOK' } });
      assert.deepEqual(warnings, []);
      return alerts?.url?.format;
    };
    assert.equal(await format('https://hooks.slack.com/services/T/B/x'), 'slack');
    assert.equal(await format('https://discord.com/api/webhooks/1/x'), 'discord');
    assert.equal(await format('https://ntfy.sh/my-topic'), 'ntfy');
    assert.equal(await format('https://discord.com.example.com/api/webhooks/1/x'), 'json');
    const toml =
      'alertUrl = "https://push.example.com/t"\nalertFormat = "ntfy"\ndigest = "07:30"\ndigestZone = "Asia/Tokyo"';
    const { alerts } = await good({ files: { 'singlepoll.toml': toml } });
    assert.deepEqual(alerts, {
      ...{ chat: null, cooldownMs: 900_000, url: { url: 'https://push.example.com/t', format: 'ntfy' } },
      digest: { hour: 7, minute: 30, zone: 'Asia/Tokyo' },
    });
  });
  test('nothing of the URL but its host is shown', async () => {
    const loaded = await good({ flags: { alertUrl: SECRET } });
    const shown = JSON.stringify([loaded.settings, loaded.warnings]);
    assert.match(shown, /hooks\.slack\.com\/…/);
    assert.match(shown, /shows in process lists/);
    assert.doesNotMatch(shown, /pa55|s3cret|B000/);
    const wrong = await mistakes({ flags: { alertUrl: SECRET.replace('https', 'ftp') } });
    assert.match(wrong.join(), /neither http nor https/);
    assert.doesNotMatch(wrong.join(), /pa55|s3cret|B000/);
  });
  for (const [name, flags, pattern] of [
    ['a variable that is not there', { alertUrl: 'env:NOPE' }, /NOPE is not set/],
    ['no URL', { alertUrl: 'hooks.slack.com' }, /is no URL/],
    ['ntfy without a topic', { alertUrl: 'https://ntfy.sh/' }, /without a topic/],
    ['no time', { digest: '25:00' }, /no such time/],
    ['no zone', { digestZone: 'Mars/Olympus' }, /no such time zone/],
    ['no cooldown', { alertCooldown: '0' }, /zero/],
  ] as const) {
    test(name, async () => assert.match((await mistakes({ flags })).join(), pattern));
  }
  test('what has no effect is said', async () => {
    const { warnings } = await good({ flags: { digest: '09:00', digestZone: 'UTC', alertFormat: 'json' } });
    assert.match(warnings.join(), /--alert-format has no effect without --alert-url/);
    assert.match(warnings.join(), /--digest has no effect: there is neither an admin chat/);
    assert.match(
      (await good({ env: CHAT, flags: { digestZone: 'UTC' } })).warnings.join(),
      /without --digest/,
    );
  });
});
