// Whom a program trusts that is led to the gateway, in each runtime: the gateway for api.telegram.org; for other hosts whoever it has
// trusted before, its user's own authority included, and no certificate that was signed with a key of ours, had it been stolen.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import crypto, { type KeyObject } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { syncBuiltinESMExports } from 'node:module';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { createFront } from '../../src/gateway/front.ts';
import { makeCertificates, toPem } from '../../src/intercept/certificates.ts';
import { openIntercept } from '../../src/intercept/intercept.ts';
import type { Report } from '../../src/output/report.ts';
import { PYTHON } from '../support/bed.ts';
import { makeCertificate, signCertificate } from '../support/certificate.ts';
import { listen, newFolder } from '../support/place.ts';
import { nodeBuild, npmPrograms, pythonBuilds } from '../support/programs.ts';

const FETCH = `for (const url of process.argv.slice(2)) await fetch(url).then((it) => it.text(), (error) => console.log(url, String(error)));`;
const HTTPS = `const { get } = require('https');
(async () => { for (const url of process.argv.slice(2)) await new Promise((next) =>
  get(url, (it) => it.resume().on('end', next)).on('error', (error) => next(console.log(url, error.message)))); })();`;
const python = (head: string, call: string) => `import sys
${head}
for url in sys.argv[1:]:
    try: ${call}
    except Exception as error: print(url, error)`;
const URLLIB = python(
  'import ssl, urllib.request\ncontext = ssl.create_default_context()',
  'urllib.request.urlopen(url, context=context).read()',
);
const REQUESTS = python('import requests\nsession = requests.Session()', 'session.get(url)');
const RUBY = `require 'net/http'
ARGV.each { |url| begin; Net::HTTP.get(URI(url)); rescue => error; puts url, error.message; end }`;
const php = (call: string) => `<?php foreach (array_slice($argv, 1) as $url) ${call}`;
const CURL_PHP = php(
  '{ $call = curl_init($url); curl_setopt($call, CURLOPT_RETURNTRANSFER, true); curl_exec($call) || print(curl_error($call)); }',
);
const JAVA = `import java.net.URI; import java.net.http.*;
public class Calls { public static void main(String[] urls) throws Exception { for (String url : urls) try {
  HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(url)).build(), HttpResponse.BodyHandlers.ofString());
} catch (java.io.IOException error) { System.out.println(url + error); } } }`;
const GO = `package main
import ("fmt"; "net/http"; "os")
func main() { for _, url := range os.Args[1:] { answer, err := http.Get(url); if err != nil { fmt.Println(err) } else { answer.Body.Close() } } }`;
const PERL = `use LWP::UserAgent; for (@ARGV) { my $it = LWP::UserAgent->new->get($_); print $it->status_line, "\\n" }`;
const CURL = `for url; do curl -sS "$url"; done`;
const GIT = `for url; do git ls-remote "$url"; done`;
const NPM = `shift 3; npm view x --fetch-retries=0 --registry="$1"`;

/** By whom the certificate is signed: as it should be; with the authority's key; with the served certificate's; by the user's own. */
const SERVED = { gateway: 2, byAuthority: 0, byLeaf: 0, byUsers: 1 };

const variable = (name: string) => (authority: string) => ({ [name]: authority });
function ini(setting: string) {
  return (authority: string, folder: string) => {
    mkdirSync(join(folder, 'ini'));
    writeFileSync(join(folder, 'ini/own.ini'), `${setting}="${authority}"`);
    return { PHP_INI_SCAN_DIR: `:${join(folder, 'ini')}` };
  };
}
function importAuthority(authority: string, file: string, ...options: string[]): string {
  const words = ['-storepass', 'changeit', '-alias', 'own', '-file', authority, '-keystore', file];
  execFileSync('keytool', ['-importcert', '-noprompt', ...words, ...options], { stdio: 'pipe' });
  return file;
}
function keystore(authority: string, folder: string) {
  const file = importAuthority(authority, join(folder, 'own.jks'), '-storetype', 'JKS');
  return { JAVA_TOOL_OPTIONS: `-Djavax.net.ssl.trustStore=${file}` };
}
function cacerts(kind: string) {
  return (authority: string, folder: string) => {
    mkdirSync(join(folder, 'lib/security'), { recursive: true });
    const open = [
      '-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE',
      '-J-Dkeystore.pkcs12.macAlgorithm=NONE',
    ];
    importAuthority(authority, join(folder, 'lib/security/cacerts'), '-storetype', kind, ...open);
    return { JAVA_HOME: folder };
  };
}

/** `file`: the last word of the command, with `code` in it. `own`: what a user sets so that one more authority is trusted. */
const row = (
  name: string,
  command: readonly string[],
  file: string,
  code: string,
  own: (authority: string, folder: string) => Record<string, string>,
  more: { readonly mode?: 'auto' | 'proxy'; readonly served?: Partial<typeof SERVED> } = {},
) => ({ name, command, file, code, own, ...more });

const NODE_CA = variable('NODE_EXTRA_CA_CERTS');
const BY_PROXY = { mode: 'proxy' } as const;
const DENO = [join(npmPrograms('deno', '2.9.6'), 'deno'), 'run', '-A'];
const FETCH_DENO = FETCH.replace('process.argv.slice(2)', 'Deno.args');
const FILE_PHP = php('file_get_contents($url);');

const ROWS = [
  ...['16', '18', '22', '24', 'latest'].map((it) =>
    row(`node ${it}, https`, [join(nodeBuild(it), 'node')], 'calls.cjs', HTTPS, NODE_CA),
  ),
  row('node, fetch', [process.execPath], 'calls.mjs', FETCH, NODE_CA),
  ...[PYTHON, ...pythonBuilds(['3.6', '3.7', '3.8', '3.13'])].map((it) =>
    row(`${basename(it)}, urllib`, [it], 'calls.py', URLLIB, variable('SSL_CERT_FILE')),
  ),
  row('python, requests', [PYTHON], 'calls.py', REQUESTS, variable('REQUESTS_CA_BUNDLE')),
  row('ruby', ['ruby'], 'calls.rb', RUBY, variable('SSL_CERT_FILE')),
  row('php, curl', ['php'], 'calls.php', CURL_PHP, ini('curl.cainfo')),
  row('php, file_get_contents', ['php'], 'calls.php', FILE_PHP, ini('openssl.cafile')),
  row('php, by the environment', ['php'], 'calls.php', FILE_PHP, variable('SSL_CERT_FILE')),
  // It does not look at the constraints of an authority that it trusts, which is why the authority's key is dropped.
  ...['JKS', 'PKCS12'].map((kind) =>
    row(
      `java, of whose own authorities (${kind}) the user has added one`,
      ['java'],
      'Calls.java',
      JAVA,
      cacerts(kind),
      {
        served: { byAuthority: 1 },
      },
    ),
  ),
  row('java with a trust store of its own, which it has then alone', ['java'], 'Calls.java', JAVA, keystore, {
    served: { gateway: 0 },
  }),
  row('bun', [join(npmPrograms('bun', '1.4.5'), 'bun')], 'calls.mjs', FETCH, NODE_CA),
  row('deno', DENO, 'deno.mjs', FETCH_DENO, variable('DENO_CERT'), BY_PROXY),
  row('go', ['go', 'run'], 'calls.go', GO, variable('SSL_CERT_FILE'), BY_PROXY),
  row('perl', ['perl'], 'calls.pl', PERL, variable('PERL_LWP_SSL_CA_FILE'), BY_PROXY),
  // Children that have nothing to do with the bot: nothing of theirs comes to the gateway, or it is tunnelled unread.
  ...(['auto', 'proxy'] as const).flatMap((mode) => {
    const tunnelled = { mode, served: { gateway: mode === 'auto' ? 0 : 2 } };
    const npm = { mode, served: { gateway: 0 } };
    return [
      row(`curl as a child, ${mode}`, ['sh'], 'calls.sh', CURL, variable('CURL_CA_BUNDLE'), tunnelled),
      row(`git as a child, ${mode}`, ['sh'], 'calls.sh', GIT, variable('GIT_SSL_CAINFO'), tunnelled),
      row(`npm as a child, ${mode}`, ['sh'], 'calls.sh', NPM, variable('npm_config_cafile'), npm),
    ];
  }),
];

/** Opens an intercept of the product and keeps the key of its authority, which the product drops. */
function openWithKey(options: Parameters<typeof openIntercept>[0]) {
  const real = crypto.generateKeyPairSync;
  const keys: KeyObject[] = [];
  const keep = (...args: unknown[]) => {
    const pair = Reflect.apply(real, crypto, args) as { privateKey: KeyObject };
    keys.push(pair.privateKey);
    return pair;
  };
  Object.assign(crypto, { generateKeyPairSync: keep });
  syncBuiltinESMExports();
  try {
    const intercept = openIntercept(options);
    return { intercept, key: keys[0]?.export({ type: 'pkcs8', format: 'pem' }) as string };
  } finally {
    Object.assign(crypto, { generateKeyPairSync: real });
    syncBuiltinESMExports();
  }
}

/** The gateway's port, and behind it who is told of each call. */
function openGateway(
  t: TestContext,
  door: { host: string; cert: string; key: string },
  onCall: (url: string) => void,
) {
  const http = createServer(({ url = '' }, response) => {
    onCall(url);
    response.setHeader('connection', 'close').end('{}');
  });
  const front = createFront({
    ...{ ...door, headMs: 5_000, mayPass: () => true },
    programOf: () => Promise.resolve('a program'),
    tunnel: (_host, to) => Promise.resolve(connect(to, '127.0.0.1')),
    onDistrust() {},
  });
  return listen(t, front.open(http));
}

describe('who is trusted by', { concurrency: 2 }, () => {
  for (const { name, command, file, code, own, mode = 'auto', served = {} } of ROWS) {
    test(name, async (t) => {
      const folder = newFolder(t);
      writeFileSync(join(folder, file), code);
      const users = makeCertificate(folder);
      const GO = { GOCACHE: join(folder, 'go-cache'), GO111MODULE: 'off' };
      const env = { PATH: process.env.PATH, HOME: folder, ...GO, ...own(users.certFile, folder) };
      const report = { line: (...words: unknown[]) => assert.fail(words.join()) } as unknown as Report;
      const { intercept, key } = openWithKey({ mode, command, env, cwd: folder, report });
      t.after(() => intercept.close());
      const counts: Record<string, number> = { gateway: 0, byAuthority: 0, byLeaf: 0, byUsers: 0 };
      const paths = new Set<string | undefined>();
      const port = await openGateway(t, intercept.door, (url) => {
        counts.gateway = paths.add(url.split('/')[1]).size;
      });
      const variables = intercept.variables(port);
      const der = Buffer.from(variables.SINGLEPOLL_HOOK?.split(':')[3] ?? '', 'base64');
      const issuers = {
        byAuthority: { cert: toPem(der), key },
        byLeaf: intercept.door,
        byUsers: users,
      };
      const urls = ['https://api.telegram.org/first'];
      for (const [who, issuer] of Object.entries(issuers)) {
        const signed = signCertificate(folder, 'localhost', issuer);
        const chain = who === 'byLeaf' ? signed.cert + issuer.cert : signed.cert;
        const server = createTlsServer({ cert: chain, key: signed.key }, (_request, response) => {
          counts[who] = 1;
          response.setHeader('connection', 'close').end('{}');
        });
        urls.push(`https://localhost:${await listen(t, server)}/`);
      }
      urls.push('https://api.telegram.org/last');
      const run = (led: Record<string, string>) =>
        new Promise<string>((resolve) => {
          const options = { env: { ...env, ...led }, cwd: folder, timeout: 60_000 };
          const [program = '', ...words] = [...command, file, ...urls];
          execFile(program, words, options, (_error, stdout, stderr) => resolve(stdout + stderr));
        });
      const text = await run(variables);
      assert.deepEqual(counts, { ...SERVED, ...served }, text);
      if (served.gateway === 0) return;
      // Another program has got the port, and has made itself what we make.
      const stranger = { ...intercept.door, ...makeCertificates(Date.now()) };
      const itsPort = await openGateway(t, stranger, (url) =>
        assert.fail(`the stranger was asked for ${url}`),
      );
      await run(intercept.variables(itsPort));
    });
  }
});
