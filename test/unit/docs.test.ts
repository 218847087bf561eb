/**
 * README and docs say what is true: what the code's tables know is generated from them, and stands here between `<!-- generated: NAME -->`
 * and `<!-- end -->`. `npm run docs` writes it.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { transformSync } from 'esbuild';
import { ALERT_KINDS } from '../../src/alerts/gate.ts';
import type { Invocation } from '../../src/commands/context.ts';
import { buildProgram } from '../../src/commands/program.ts';
import { COMMANDS } from '../../src/commands/table.ts';
import { loadConfig } from '../../src/config/load.ts';
import { longFlag, NEEDS, OPTION_NAMES, optionRow } from '../../src/config/options.ts';
import { EXIT } from '../../src/errors.ts';
import { FAMILIES } from '../../src/http/metrics.ts';
import { LIBRARIES } from '../../src/intercept/libraries.ts';

const FILES = ['README.md', 'examples/README.md', ...readdirSync('docs').map((name) => `docs/${name}`)];
const TEXTS = new Map(FILES.map((path) => [path, readFileSync(path, 'utf8')]));

const cell = (text: string) => text.replaceAll('|', '\\|');
const table = (head: string, rows: readonly (readonly string[])[]) =>
  [head, head.replace(/[^|]+/g, ' --- '), ...rows.map((row) => `| ${row.map(cell).join(' | ')} |`)].join(
    '\n',
  );

const GENERATED: Readonly<Record<string, () => string>> = {
  options: () =>
    table(
      '| option | meaning | default |',
      OPTION_NAMES.map((name) => {
        const { short, kind, placeholder, help, defaultText } = optionRow(name);
        const flag = `${short ? `-${short}, ` : ''}${longFlag(name)}${kind === 'flag' ? '' : ` <${placeholder}>`}`;
        return [`\`${flag}\``, help, defaultText];
      }),
    ),
  'other options': () =>
    table(
      '| command | option | meaning |',
      COMMANDS.flatMap(({ name, options = [] }) =>
        options.map(([flags, help]) => [`\`${name.split(' ')[0]}\``, `\`${flags}\``, help]),
      ),
    ),
  frameworks: () =>
    table(
      '| library | API root |',
      LIBRARIES.map(({ language, name, apiRoot }) => [
        name === 'api.telegram.org' ? `calls of your own, ${language}` : name,
        apiRoot === null ? 'none: it speaks MTProto' : `\`${apiRoot}\``,
      ]),
    ),
  metrics: () =>
    table(
      '| metric | type | means |',
      FAMILIES.map(([name, type, help]) => [`\`${name}\``, type, help]),
    ),
};

const withGenerated = (text: string) =>
  text.replace(
    /(<!-- generated: (.*) -->\n)[\s\S]*?(?=<!-- end -->)/g,
    (_, mark: string, name: string) => `${mark}${GENERATED[name]!()}\n`,
  );

test('what is generated from the code is what the code says now', () => {
  for (const [path, text] of TEXTS) {
    const fresh = withGenerated(text);
    if (process.env.SP_WRITE_DOCS && fresh !== text) writeFileSync(path, fresh);
    else assert.equal(text, fresh, `${path}: npm run docs`);
  }
});

test('the README is short, and the first command stands at its top', () => {
  const text = TEXTS.get('README.md')!;
  const lines = text.split('\n');
  assert.ok(
    lines.length <= 220 && Buffer.byteLength(text) <= 16 * 1024,
    `${lines.length} lines, ${text.length} characters`,
  );
  const top = lines.slice(0, 60);
  assert.ok(top.includes('npm ci') && top.includes('npx singlepoll start --sandbox'));
  assert.match(text, /`npm test`/);
});

/** As GitHub makes them: https://docs.github.com/en/get-started/writing-on-github (section links). */
const anchorOf = (heading: string) =>
  heading
    .replace(/`|\[|\]\(.*?\)/g, '')
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

test('every link leads to a file and a heading that exist', () => {
  const broken: string[] = [];
  for (const [path, text] of TEXTS)
    for (const [, target = ''] of text.replace(/```[\s\S]*?```/g, '').matchAll(/\]\(([^)]+)\)/g)) {
      if (/^https:/.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const place = file === '' ? path : join(dirname(path), file);
      const there =
        anchor === undefined ||
        (TEXTS.get(place) ?? '')
          .split('\n')
          .some((line) => /^#+ /.test(line) && anchorOf(line.replace(/^#+ /, '')) === anchor);
      if (!existsSync(place) || !there) broken.push(`${path}: ${target}`);
    }
  assert.deepEqual(broken, []);
});

const unescaped = (text: string) => text.replaceAll('\\|', '|');
const blocksOf = (text: string) => [...text.matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```/gm)];

/** What stands for a value in a synopsis, and a value. */
const PLACEHOLDERS: Readonly<Record<string, string>> = {
  N: '1',
  T: '1m',
  B: '@b',
  BOT: '123456',
  PATH: 'x',
  NAME: 'x',
  USER: 'root',
  ADDR: '8080',
  URL: 'redis://host',
  SIZE: '1G',
  ID: '123456',
  PATTERN: 'old_bot',
  COMMAND: 'node bot.js',
};

/** Each command line with `singlepoll` in code blocks and code spans, as words; a synopsis with all that it has in brackets. */
function commandLines(text: string): string[][] {
  const blocks = blocksOf(text).flatMap(([, kind, body = '']) =>
    body.split('\n').filter((line) => kind === 'sh' || kind === 'ini' || /^ *\$ /.test(line)),
  );
  const spans = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/`([^`\n]+)`/g)].map(([, span = '']) =>
    unescaped(span),
  );
  return [...blocks, ...spans.filter((it) => /^(?:sudo |npx )?singlepoll /.test(it))].flatMap((line) =>
    line.split(/ # | \| |&&|;/).flatMap((part) => {
      const typed = /(?:^|[ (/])singlepoll +(.*)/.exec(part)?.[1];
      if (typed === undefined) return [];
      const plain = typed
        .replace(/ >.*$|\)' >>.*$/, '')
        .replace(/[[\]…]/g, '')
        .replace(/(\w)\|[\w|]+/g, '$1');
      const words = [...plain.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c!);
      return [
        words.flatMap((word) => word.replace(/(?<![\w-])[A-Z]+$/, (it) => PLACEHOLDERS[it] ?? it).split(' ')),
      ];
    }),
  );
}

test('every command line is accepted by the program', async () => {
  const refused: string[] = [];
  for (const [path, text] of TEXTS)
    for (const words of commandLines(text)) {
      const seen: Invocation[] = [];
      const program = buildProgram(words[0], async (_, it) => void seen.push(it));
      for (const command of [program, ...program.commands])
        command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
      const env: Record<string, string> = {
        BOT_TOKEN: `123456:${'A'.repeat(35)}`,
        ASSISTANT_ADMIN_TELEGRAM_ID: '1',
        PORT: '8080',
      };
      for (const word of words)
        if (word.startsWith('env:'))
          env[word.slice(4)] = /alert/.test(words.join(' ')) ? 'https://x.example/t' : 'redis://x';
      try {
        await program.parseAsync(['node', 'singlepoll', ...words]);
        for (const { command, flags, words: argvCommand } of seen.filter(({ command }) => command in NEEDS)) {
          const loaded = await loadConfig({
            command,
            flags,
            argvCommand: argvCommand.length > 0 ? argvCommand : ['node'],
            cwd: '/',
            env,
          });
          if (!loaded.ok) refused.push(`${path}: singlepoll ${words.join(' ')}: ${loaded.errors.join('; ')}`);
        }
      } catch (error) {
        if ((error as { exitCode?: number }).exitCode !== 0)
          refused.push(`${path}: singlepoll ${words.join(' ')}: ${(error as Error).message}`);
      }
    }
  assert.deepEqual(refused, []);
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
  const named = [...TEXTS.values()].flatMap((text) =>
    [...text.matchAll(/npm run ([\w:]+)/g)].map(([, name]) => name!),
  );
  assert.deepEqual(
    named.filter((name) => !(name in scripts)),
    [],
  );
});

/** Words in quotes, of the parts of a source file that match. */
const quoted = (path: string, pattern: RegExp) =>
  [...readFileSync(path, 'utf8').matchAll(pattern)].flatMap(([text]) =>
    [...text.matchAll(/'([a-z-]+)'/g)].map(([, word]) => word!),
  );

test('every state, problem, grade, alert, exit code and option has its place', () => {
  const named: Readonly<Record<string, readonly string[]>> = {
    'docs/commands.md': quoted('src/supervisor/status.ts', /type RunState = .*/g),
    'docs/strays.md': quoted('src/supervisor/status.ts', /type Grade = .*/g),
    'docs/messages.md': [
      'src/supervisor/status-document.ts',
      'src/lease/lease.ts',
      'src/commands/answers.ts',
    ].flatMap((path) => quoted(path, /\bcode: (?:[^,']* \? )?'[a-z-]+'(?: : '[a-z-]+')?/g)),
    'docs/alerts.md': [...Object.keys(ALERT_KINDS), 'digest'],
    'README.md': Object.values(EXIT)
      .filter((code) => code !== EXIT.notRunning)
      .map(String),
    'docs/options.md': Object.values(EXIT).map(String),
  };
  const missing = Object.entries(named).flatMap(([path, words]) => {
    assert.ok(words.length > 0, path);
    return words
      .filter(
        (it) =>
          !new RegExp(`^\\| \`?${it}\`?[ ,]|[( ]${it} (?:where|not running)|, ${it} none`, 'm').test(
            TEXTS.get(path)!,
          ),
      )
      .map((it) => `${path}: ${it}`);
  });
  assert.deepEqual(missing, []);
  // Of commander, and of other programs.
  const others = [
    'help',
    'version',
    'token',
    'scale',
    'reload',
    'local',
    'workers',
    'daemon',
    'init',
    'log-',
    'alert-',
  ];
  const flags = new Set([
    ...others.map((it) => `--${it}`),
    ...COMMANDS.flatMap(({ options = [] }) => options.flatMap(([it]) => it.match(/--[\w-]+/g) ?? [])),
    ...OPTION_NAMES.map(longFlag).flatMap((it) => [it, it.replace('--no-', '--'), it.replace('--', '--no-')]),
  ]);
  const unknown = [...TEXTS].flatMap(([path, text]) =>
    [...text.matchAll(/`(--[\w-]+)/g)]
      .map(([, it]) => it!)
      .filter((it) => !flags.has(it))
      .map((it) => `${path}: ${it}`),
  );
  assert.deepEqual(unknown, []);
});

/** The texts of a source file, in quotes or backticks; what is put into them shows as `…`. */
function textsOf(path: string): string[] {
  // Without comments, types and line breaks; only regular expressions are left that could hold a quote.
  const js = transformSync(readFileSync(path, 'utf8'), {
    loader: 'ts',
    minifyWhitespace: true,
    charset: 'utf8',
  }).code;
  const texts: string[] = [];
  let at = 0;
  /** The rest of a literal that ends with this character. */
  const literal = (end: string): string => {
    let text = '';
    for (at += 1; js[at] !== end; at += 1) {
      if (at >= js.length) throw new Error(`${path}: a literal without an end`);
      if (js[at] === '\\') text += js[++at] === 'n' ? '\n' : js[at];
      else if (end === '`' && js.startsWith('${', at)) {
        at += 2;
        code();
        text += '…';
      } else if (end === '/' && js[at] === '[') text += literal(']');
      else text += js[at];
    }
    return text;
  };
  const code = (): void => {
    for (let depth = 0, word = ''; at < js.length; at += 1) {
      const c = js[at]!;
      if (c === '{') depth += 1;
      if (c === '}' && depth-- === 0) return;
      if (c === '"' || c === "'" || c === '`') texts.push(literal(c));
      else if (c === '/' && /^(?:\W?|return|typeof)$/.test(word) && !/[)\]]/.test(word)) literal('/');
      word = /\w/.test(c) ? (/\w$/.test(word) ? word : '') + c : c;
    }
  };
  code();
  return texts;
}

/** Texts of these are no lines of a run: help that docs/options.md is made of, files that are written, findings with their cures, the stand-in. */
const NO_MESSAGES =
  /src\/tools|\/(?:sandbox|doctor|api)\/|alerts\/(?:events|message)|commands\/(?:table|program|completion|init)|config\/(?:options|values|targets)|http\/(?:page|metrics|view)|install\/(?:unit|cron)|strays\/(?:bystander|program|tree)|intercept\/(?:libraries|certificates|variables)|supervisor\/(?:guard|launcher|recorder)|telegram\/webhook/;

test('every message is explained, and no other', () => {
  const spans = [...TEXTS.get('docs/messages.md')!.matchAll(/(`+)(.+?)\1(?!`)/g)].map(([, , span = '']) =>
    unescaped(span.trim()),
  );
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .map((path) => `src/${path}`)
    .filter((path) => path.endsWith('.ts') && !NO_MESSAGES.test(path));
  const texts = files.flatMap((path) => textsOf(path).map((text) => ({ path, text })));
  const piecesOf = (text: string) => text.split(/…|^\[\w+\] /).map((it) => it.trim());
  const longest = (text: string) => piecesOf(text).sort((a, b) => b.length - a.length)[0]!;
  const words = (text: string) =>
    text.split(/\s+/).filter((word) => /^[("]?[\p{L}’'-]{2,}[,.:;)"?]*$/u.test(word)).length;
  const isHint = (text: string) =>
    /^(?:…|\s)*(?:sudo |singlepoll |rm )| {3}[#(] ?|\n|^(?:SELECT|CREATE|WITH|cd) |: SINGLEPOLL_DIR=/.test(
      text,
    );
  const unexplained = texts.filter(({ text }) => {
    if (words(text) < 5 || isHint(text)) return false;
    const piece = longest(text);
    return !spans.some(
      (span) => span.includes(piece) || (words(longest(span)) >= 3 && text.includes(longest(span))),
    );
  });
  const lines = unexplained.map(({ path, text }) => `${path}: ${text}`);
  assert.ok(lines.length === 0, `docs/messages.md has no row for\n${lines.join('\n')}`);
  const all = texts.map(({ text }) => ({ text: text.replace(/\s+/g, ' '), piece: longest(text) }));
  const gone = spans.filter((span) => {
    const piece = longest(span.replace(/\s+/g, ' '));
    if (words(piece) < 4 || isHint(span)) return false;
    return !all.some((it) => it.text.includes(piece) || (words(it.piece) >= 3 && piece.includes(it.piece)));
  });
  assert.deepEqual(gone, [], 'docs/messages.md explains what nobody says');
});
