// The hooks, in real runtimes against a TLS server of our own: what goes to api.telegram.org:443 comes to it, nothing else does, and
// whatever is amiss leaves the program alone. No network: a call that is not led here fails to resolve or is refused.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { basename, join } from 'node:path';
import { type Duplex, PassThrough } from 'node:stream';
import { after, describe, type TestContext } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { createFront } from '../../src/gateway/front.ts';
import { makeCertificates, toPem } from '../../src/intercept/certificates.ts';
import { openIntercept } from '../../src/intercept/intercept.ts';
import type { Report } from '../../src/output/report.ts';
import { test, xtest } from '../support/kinds.ts';
import { listen, newFolder } from '../support/place.ts';
import { readProc } from '../support/proc.ts';
import { until } from '../support/wait.ts';

const HOOKS = join(import.meta.dirname, '../../src/intercept/hooks');
const URL_ = 'https://api.telegram.org/bot1:x/getMe';

// With a blank in its name.
const folder = join(newFolder(), 'singlepoll hooks');
mkdirSync(folder);
let served: string[] = [];
const distrusting: string[] = [];
const certificates = makeCertificates(Date.now());

function serve(request: IncomingMessage, response: ServerResponse): void {
  served.push(`${request.headers.host} ${request.url}`);
  response.end(JSON.stringify({ ok: true, by: 'gateway' }));
}

const http = createServer(serve);
const frontOptions = {
  ...certificates,
  host: 'api.telegram.org',
  headMs: 500,
  mayPass: () => true,
  programOf: () => Promise.resolve('a program'),
  tunnel: () => Promise.resolve(connect(port, '127.0.0.1')),
  onDistrust: (program: string, way: string) => distrusting.push(`${way}: ${program}`),
};
const front = createFront(frontOptions).open(http);

const port = await listen({ after }, front);
const setting = settingOf(process.pid);

function settingOf(pid: number): string {
  return [port, pid, readProc(pid)?.startTicks, certificates.authority.toString('base64')].join(':');
}

function run(program: string, args: readonly string[], env: Record<string, string> = {}) {
  served = [];
  const options = { env: { PATH: process.env.PATH, HOME: folder, ...env }, cwd: folder, timeout: 20_000 };
  return new Promise<{ code: number; text: string }>((resolve) => {
    execFile(program, args, options, (error, stdout, stderr) =>
      resolve({ code: error ? 1 : 0, text: stdout + stderr }),
    );
  });
}

const nodeEnv = () => ({
  NODE_OPTIONS: `--require="${join(HOOKS, 'node.cjs')}"`,
  SINGLEPOLL_HOOK: setting,
});
const pythonEnv = () => ({ PYTHONPATH: join(HOOKS, 'python'), SINGLEPOLL_HOOK: setting });

describe('node', () => {
  const programs: Record<string, string> = {
    fetch: `fetch('${URL_}').then(r => r.text()).then(console.log)`,
    https: `require('https').get('${URL_}', r => r.on('data', d => console.log(String(d))))`,
    'tls with port and host': `const s = require('tls').connect(443, 'api.telegram.org', { servername: 'api.telegram.org' }, () =>
      s.write('GET /x HTTP/1.1\\r\\nHost: api.telegram.org\\r\\nConnection: close\\r\\n\\r\\n')); s.on('data', d => console.log(String(d)))`,
    'a worker thread': `new (require('worker_threads').Worker)("fetch('${URL_}').then(r => r.text()).then(console.log)", { eval: true })`,
  };
  for (const [name, code] of Object.entries(programs)) {
    test(name, async () => {
      const { text } = await run(process.execPath, ['-e', code], nodeEnv());
      assert.match(text, /"by":"gateway"/);
      assert.equal(served.length, 1);
      assert.match(served[0] ?? '', /^api\.telegram\.org \//);
    });
  }

  test('an ES module that imports connect by name', async () => {
    const file = join(folder, 'esm.mjs');
    writeFileSync(
      file,
      `import { connect } from 'node:tls';
       const s = connect({ host: 'api.telegram.org', port: 443 }, () => s.end('GET /x HTTP/1.0\\r\\n\\r\\n'));
       s.on('data', (d) => console.log(String(d)));`,
    );
    const { text } = await run(process.execPath, [file], nodeEnv());
    assert.match(text, /"by":"gateway"/);
  });

  for (const [name, options] of Object.entries({
    'another host': "{ host: 'localhost', port: PORT, rejectUnauthorized: false }",
    'another port': "{ host: 'api.telegram.org', port: 444, lookup }",
    'a pin of its own': "{ host: 'api.telegram.org', port: 443, checkServerIdentity() {}, lookup }",
    'HTTP/2 alone': "{ host: 'api.telegram.org', port: 443, ALPNProtocols: ['h2'], lookup }",
  })) {
    test(`${name} is left alone`, async () => {
      const code = `const lookup = (h, o, cb) => cb(new Error('LOOKED UP'));
        require('tls').connect(${options.replace('PORT', String(port))}).on('error', e => console.log(e.message)).on('secureConnect',
        function () { console.log('CONNECTED'); this.end(); })`;
      const { text } = await run(process.execPath, ['-e', code], nodeEnv());
      assert.match(text, name === 'another host' ? /CONNECTED/ : /LOOKED UP/);
      assert.deepEqual(served, []);
    });
  }

  test('a server that is not ours gets nothing, even from a program that verifies nothing', async () => {
    const other = makeCertificates(Date.now());
    const env = { ...nodeEnv(), NODE_TLS_REJECT_UNAUTHORIZED: '0' };
    env.SINGLEPOLL_HOOK = setting.replace(/[^:]*$/, other.authority.toString('base64'));
    const { text } = await run(process.execPath, ['-e', programs.https ?? ''], env);
    assert.match(text, /certificate|self.signed|issuer/i);
    assert.deepEqual(served, []);
  });
});

describe('python', () => {
  const programs: Record<string, string> = {
    urllib: `import urllib.request; print(urllib.request.urlopen('${URL_}').read())`,
    asyncio: `import asyncio, ssl
async def main():
    r, w = await asyncio.open_connection('api.telegram.org', 443, ssl=ssl.create_default_context())
    w.write(b'GET /x HTTP/1.0\\r\\n\\r\\n'); print(await r.read())
asyncio.run(main())`,
  };
  for (const [name, code] of Object.entries(programs)) {
    test(name, async () => {
      const { text } = await run('python3', ['-c', code], pythonEnv());
      assert.match(text, /"by":"gateway"/);
      assert.equal(served.length, 1);
    });
  }

  test('another port is left alone', async () => {
    const { text } = await run(
      'python3',
      ['-c', `import socket; print(socket.getaddrinfo('127.0.0.1', 443)[0][4], 'untouched')`],
      pythonEnv(),
    );
    assert.match(text, /127\.0\.0\.1.*untouched/);
  });

  test('the sitecustomize of the user still runs, as a file, as a package and when it is broken', async () => {
    for (const [kind, path, code] of [
      ['file', 'sitecustomize.py', "print('USER')"],
      ['package', 'sitecustomize/__init__.py', "print('USER')"],
      ['broken', 'sitecustomize.py', "print('USER'); raise RuntimeError('broken')"],
    ] as const) {
      const own = join(folder, `own-${kind}`);
      mkdirSync(join(own, path, '..'), { recursive: true });
      writeFileSync(join(own, path), code);
      const env = { ...pythonEnv(), PYTHONPATH: `${join(HOOKS, 'python')}:${own}` };
      const { text } = await run('python3', ['-c', programs.urllib ?? ''], env);
      assert.equal(text.match(/USER/g)?.length, 1, text);
      assert.match(text, /"by":"gateway"/, kind);
    }
  });
});

test('children that are none of ours run as before: npm, git, curl, psql', async () => {
  for (const program of ['npm', 'git', 'curl', 'psql']) {
    const [led, alone] = [
      await run(program, ['--version'], { ...nodeEnv(), ...pythonEnv() }),
      await run(program, ['--version']),
    ];
    assert.deepEqual(led, alone);
  }
});

/** Programs that tell whether their calls would be led. */
const TELLERS: readonly (readonly [string, readonly string[]])[] = [
  [process.execPath, ['-e', "console.log(require('tls').connect.name === 'connect' ? 'as it is' : 'led')"]],
  [
    'python3',
    ['-c', "import socket; print('led' if 'lambda' in socket.getaddrinfo.__qualname__ else 'as it is')"],
  ],
  ['ruby', ['-rsocket', '-e', "puts TCPSocket.ancestors[0] == TCPSocket ? 'as it is' : 'led'"]],
  ['php', ['tell.php']],
];

/** The environment that a worker with this command and this environment of its user's gets. */
async function workerEnv(t: TestContext, command: readonly string[], env: Record<string, string> = {}) {
  writeFileSync(join(folder, 'tell.php'), "<?php echo getenv('https_proxy') ? 'led' : 'as it is', PHP_EOL;");
  const report = { line: (...words: unknown[]) => assert.fail(words.join()) } as unknown as Report;
  const intercept = openIntercept({ mode: 'auto', command, env, cwd: folder, report });
  t.after(() => intercept.close());
  return { ...env, ...intercept.variables(port) };
}

for (const [program, words] of TELLERS) {
  const name = basename(program);
  test(`${name} starts as it is where singlepoll has gone, or its setting is missing or unreadable`, async (t) => {
    const env = await workerEnv(t, [program]);
    assert.deepEqual(await run(program, words, env), { code: 0, text: 'led\n' });
    for (const other of [
      env.SINGLEPOLL_HOOK?.replace(/^(\d+:\d+):\d+/, '$1:1'),
      '',
      'x',
      '1:x:y:',
      ':::',
      '1:2',
    ])
      assert.deepEqual(await run(program, words, { ...env, SINGLEPOLL_HOOK: other ?? '' }), {
        code: 0,
        text: 'as it is\n',
      });
  });
}

test("what the user's own variables load is loaded, too, beside the hook", async (t) => {
  writeFileSync(join(folder, 'own.cjs'), "console.log('USER')");
  writeFileSync(join(folder, 'own.rb'), "puts 'USER'");
  writeFileSync(join(folder, 'own.php'), "<?php echo 'USER', PHP_EOL;");
  mkdirSync(join(folder, 'ini'));
  writeFileSync(join(folder, 'ini', 'own.ini'), `auto_prepend_file="${join(folder, 'own.php')}"`);
  const own: Record<string, string>[] = [
    { NODE_OPTIONS: `--max-old-space-size=99 --require="${join(folder, 'own.cjs')}"` },
    {},
    { RUBYOPT: '-W0 -r./own.rb' },
    { PHP_INI_SCAN_DIR: `:${join(folder, 'ini')}` },
  ];
  for (const [i, [program, words]] of TELLERS.entries())
    if (Object.keys(own[i]!).length > 0)
      assert.deepEqual(await run(program, words, await workerEnv(t, [program], own[i])), {
        code: 0,
        text: 'USER\nled\n',
      });
});

test('what runs when singlepoll ends tells its token to nobody at that port, even if it verifies nothing', async () => {
  const programs: readonly (readonly [string, readonly string[]])[] = [
    [
      process.execPath,
      [
        '-e',
        `const [, pid] = process.env.SINGLEPOLL_HOOK.split(':');
         const get = () => new Promise((next) => require('https').get('${URL_}', { agent: false, rejectUnauthorized: false },
           (answer) => answer.resume().on('end', next)).on('error', next));
         get().then(async () => {
           process.kill(Number(pid));
           while (require('fs').existsSync('/proc/' + pid)) await new Promise(setImmediate);
           await get();
         })`,
      ],
    ],
    [
      'python3',
      [
        '-c',
        `import os, ssl, urllib.request
def get():
    try: urllib.request.urlopen('${URL_}', context=ssl._create_unverified_context()).read()
    except OSError: pass
get()
pid = os.environ['SINGLEPOLL_HOOK'].split(':')[1]
os.kill(int(pid), 15)
while os.path.exists('/proc/' + pid): pass
get()`,
      ],
    ],
    [
      'ruby',
      [
        '-rnet/http',
        '-e',
        `get = -> { begin; Net::HTTP.start('api.telegram.org', 443, use_ssl: true, verify_mode: 0) { |it| it.get('/') }; rescue SocketError; end }
         get.call
         pid = ENV['SINGLEPOLL_HOOK'].split(':')[1]
         Process.kill(:TERM, pid.to_i)
         nil while File.exist?("/proc/#{pid}")
         get.call`,
      ],
    ],
  ];
  for (const [program, words] of programs) {
    const supervisor = spawn('sleep', ['60'], { stdio: 'ignore' });
    const env = { ...nodeEnv(), ...pythonEnv(), RUBYOPT: `-r${join(HOOKS, 'ruby.rb')}` };
    const { code, text } = await run(program, words, {
      ...env,
      SINGLEPOLL_HOOK: settingOf(supervisor.pid ?? 0),
    });
    supervisor.kill();
    assert.equal(code, 0, text);
    assert.equal(served.length, 1, program);
  }
});

test('who says nothing, or begins a handshake and leaves it at that, is let go in time', async () => {
  for (const begun of ['', '\x16\x03\x01']) {
    const socket = connect(port, '127.0.0.1', () => socket.write(begun, 'latin1'));
    await once(socket, 'close');
  }
});

test('a tunnel that stands only when its client has hung up is closed', async (t) => {
  const far = new PassThrough();
  let isAsked = false;
  const tunnel = async (): Promise<Duplex> => {
    isAsked = true;
    await once(far, 'stands');
    return far;
  };
  const other = createFront({ ...frontOptions, tunnel }).open(createServer(serve));
  const socket = connect(await listen(t, other), '127.0.0.1');
  const [accepted] = (await once(other, 'connection')) as [Socket];
  socket.write('CONNECT example.test:443 HTTP/1.1\r\nHost: x\r\n\r\n');
  await until('the tunnel to be asked for', () => isAsked);
  socket.resetAndDestroy();
  await until('its end', () => accepted.closed);
  far.emit('stands');
  await until('the end of the tunnel', () => far.destroyed);
});

xtest('a program that was ended behind its handshake still trusts the gateway; one that always hangs up there does not', async () => {
  distrusting.length = 0;
  const shakeHands = async () => {
    const raw = connect(port, '127.0.0.1');
    raw.write('CONNECT api.telegram.org:443 HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(raw, 'data');
    const ca = toPem(certificates.authority);
    const secure = tlsConnect({ socket: raw, servername: 'api.telegram.org', ca });
    await once(secure, 'secureConnect');
    return secure;
  };
  const ask = async () => {
    const secure = await shakeHands();
    secure.write('GET /x HTTP/1.1\r\nHost: api.telegram.org\r\nConnection: close\r\n\r\n');
    assert.match(String((await once(secure, 'data'))[0]), /"by":"gateway"/);
    await once(secure, 'close');
  };
  const hangUp = async () => {
    const secure = await shakeHands();
    secure.end();
    await once(secure, 'close');
  };
  await hangUp();
  await ask();
  await hangUp();
  await ask();
  assert.deepEqual(distrusting, []);
  await hangUp();
  await hangUp();
  await until('it to be told', () => distrusting.length > 0);
  assert.deepEqual(distrusting, ['connect: a program']);
});
