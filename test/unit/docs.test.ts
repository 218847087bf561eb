/**
 * README and docs say what is true: what the code's tables know is generated from them, and stands here between `<!-- generated: NAME -->`
 * and `<!-- end -->`. `npm run docs` writes it.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ALERT_KINDS } from '../../src/alerts/gate.ts';
import type { Invocation } from '../../src/commands/context.ts';
import { buildProgram } from '../../src/commands/program.ts';
import { COMMANDS } from '../../src/commands/table.ts';
import { loadConfig } from '../../src/config/load.ts';
import { longFlag, NEEDS, OPTION_NAMES, optionRow } from '../../src/config/options.ts';
import { EXIT } from '../../src/errors.ts';
import { FAMILIES } from '../../src/http/metrics.ts';
import { LIBRARIES } from '../../src/intercept/libraries.ts';
import { hintsInSource, textsOf } from '../support/source-texts.ts';

const FILES = ['README.md', 'examples/README.md', ...readdirSync('docs').map((name) => `docs/${name}`)];
const TEXTS = new Map(FILES.map((path) => [path, readFileSync(path, 'utf8')]));

const cell = (text: string) => text.replaceAll('|', '\\|');
const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');

const GENERATED: Readonly<Record<string, () => string>> = {
  options: () =>
    table(
      ['option', 'meaning', 'default'],
      OPTION_NAMES.map((name) => {
        const { short, kind, placeholder, help, defaultText } = optionRow(name);
        const flag = `${short ? `-${short}, ` : ''}${longFlag(name)}${kind === 'flag' ? '' : ` <${placeholder}>`}`;
        return [`\`${flag}\``, help, defaultText];
      }),
    ),
  'other options': () =>
    table(
      ['command', 'option', 'meaning'],
      COMMANDS.flatMap(({ name, options = [] }) =>
        options.map(([flags, help, accepts = 'many']) => {
          const shown = accepts === 'many' ? flags : flags.replace(/<.*>/, `<${accepts.join('|')}>`);
          return [`\`${name.split(' ')[0]}\``, `\`${shown}\``, help];
        }),
      ),
    ),
  frameworks: () =>
    table(
      ['library', 'API root'],
      LIBRARIES.map(({ language, name, apiRoot }) => [
        name === 'api.telegram.org' ? `calls of your own, ${language}` : name,
        apiRoot === null ? 'none: it speaks MTProto' : `\`${apiRoot}\``,
      ]),
    ),
  metrics: () =>
    table(
      ['metric', 'type', 'means'],
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

/** As GitHub makes them. */
const anchorOf = (heading: string) =>
  heading
    .replace(/^#+ |`|\[|\]\(.*?\)/g, '')
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
const headingsOf = (path: string) => TEXTS.get(path)?.match(/^#+ .*/gm) ?? [];

test('every link leads to a file and a heading that exist, and so do files that are named', () => {
  const broken = [...TEXTS].flatMap(([path, text]) => {
    const links = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/\]\((?!https:)([^)#]*)#?([^)]*)\)/g)];
    const files = [...text.matchAll(/`((?:src|test|scripts|bin|docs)\/[\w/.-]+)`/g)].map(([, file]) => file!);
    const dead = links.filter(([, file = '', anchor = '']) => {
      const place = file === '' ? path : join(dirname(path), file);
      return (
        !existsSync(place) || (anchor !== '' && !headingsOf(place).some((it) => anchorOf(it) === anchor))
      );
    });
    return [...dead.map(([link]) => link), ...files.filter((file) => !existsSync(file))].map(
      (it) => `${path}: ${it}`,
    );
  });
  assert.deepEqual(broken, []);
});

const unescaped = (text: string) => text.replaceAll('\\|', '|');

/** What stands for a value in a synopsis, and a value. */
const PLACEHOLDERS: Readonly<Record<string, string>> = Object.fromEntries(
  'N=1 T=1m BOT=123456 PORT=8080 USER=root SIZE=1G URL=redis://host COMMAND=node'
    .split(' ')
    .map((it) => it.split('=')),
);

/** Each command line with `singlepoll` in code blocks and code spans, as words; a synopsis with all that it has in brackets. */
function commandLines(text: string): string[][] {
  const blocks = [...text.matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```/gm)].flatMap(([, kind = '', body = '']) =>
    body.split('\n').filter((it) => /^(?:sh|ini)$/.test(kind) || /^ *\$ /.test(it)),
  );
  const spans = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/`((?:sudo |npx )?singlepoll [^`\n]+)`/g)];
  const lines = [...blocks, ...spans.map(([, span = '']) => unescaped(span))];
  return lines
    .flatMap((it) => it.split(/ # | \| |&&|;/))
    .flatMap((part) => {
      const typed = /(?:^|[ (/])singlepoll +(.*)/.exec(part)?.[1]?.replace(/ >.*$|\)' >>.*$/, '');
      if (typed === undefined) return [];
      const plain = typed.replace(/[[\]…]/g, '').replace(/(\w)\|[\w|]+/g, '$1');
      const words = [...plain.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c!);
      return [words.map((word) => word.replace(/(?<![\w-])[A-Z]+$/, (it) => PLACEHOLDERS[it] ?? it))];
    });
}

/** Why the program does not accept it; null: it does. Nothing is run. */
async function refusal(words: readonly string[]): Promise<string | null> {
  const seen: Invocation[] = [];
  const program = buildProgram(words, async (_, it) => void seen.push(it));
  for (const it of [program, ...program.commands])
    it.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  const target = words.includes('--alert-url') ? 'https://x.example' : 'redis://x';
  const named = words.filter((it) => it.startsWith('env:')).map((it) => [it.slice(4), target]);
  const env = {
    ...Object.fromEntries(named),
    BOT_TOKEN: `123456:${'A'.repeat(35)}`,
    ASSISTANT_ADMIN_TELEGRAM_ID: '1',
  };
  try {
    await program.parseAsync(['node', 'singlepoll', ...words]);
  } catch (error) {
    return (error as { exitCode?: number }).exitCode === 0 ? null : (error as Error).message;
  }
  for (const { command, flags, words: argv } of seen.filter(({ command }) => command in NEEDS)) {
    const argvCommand = argv.length > 0 ? argv : ['node'];
    const loaded = await loadConfig({ command, flags, argvCommand, cwd: '/', env });
    if (!loaded.ok) return loaded.errors.join('; ');
  }
  return null;
}

test('every command line is accepted by the program, and by npm', async () => {
  const refused: string[] = [];
  const hints = [
    'src',
    hintsInSource()
      .map((it) => `\`${it.replace('--kind …', '--kind cron')}\``)
      .join('\n'),
  ] as const;
  for (const [path, text] of [...TEXTS, hints])
    for (const words of commandLines(text)) {
      const why = await refusal(words);
      if (why !== null) refused.push(`${path}: singlepoll ${words.join(' ')}: ${why}`);
    }
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
  const named = [...TEXTS.values()].flatMap((text) =>
    [...text.matchAll(/npm run ([\w:]+)/g)].map(([, it]) => it!),
  );
  assert.deepEqual([...refused, ...named.filter((it) => !(it in scripts))], []);
});

/** Words in quotes, of the parts of a source file that match. */
const quoted = (path: string, pattern: RegExp) =>
  (readFileSync(path, 'utf8').match(pattern) ?? []).flatMap(
    (text) => text.match(/(?<=')[a-z-]+(?=')/g) ?? [],
  );
const CODE = /\bcode: (?:[^,']* \? )?'[a-z-]+'(?: : '[a-z-]+')?/g;
const WITH_PROBLEMS = ['supervisor/status-document', 'lease/lease', 'commands/look'].map(
  (it) => `src/${it}.ts`,
);
/** Options of commander, and of other programs. */
const OTHERS = 'help version token scale reload local workers daemon init log- alert-'.split(' ');

test('every state, problem, grade, alert and exit code has a row, and every option that is named exists', () => {
  const named: Readonly<Record<string, readonly (string | number)[]>> = {
    'docs/commands.md': quoted('src/supervisor/status.ts', /type RunState = .*/g),
    'docs/strays.md': quoted('src/supervisor/status.ts', /type Grade = .*/g),
    'docs/messages.md': WITH_PROBLEMS.flatMap((path) => quoted(path, CODE)),
    'docs/alerts.md': [...Object.keys(ALERT_KINDS), 'digest'],
    'docs/options.md': Object.values(EXIT),
    'README.md': Object.values(EXIT).filter((code) => code !== EXIT.notRunning),
  };
  for (const [path, words] of Object.entries(named)) {
    assert.ok(words.length > 2, path);
    const rows = (TEXTS.get(path) ?? '').split('\n').filter((it) => it.startsWith('| '));
    assert.deepEqual(
      words.filter((word) => !rows.some((row) => RegExp(`^\\| \`?${word}\`? \\|| ${word} \\w`).test(row))),
      [],
      path,
    );
  }
  const flags = new Set([
    ...OTHERS.map((it) => `--${it}`),
    ...COMMANDS.flatMap(({ options = [] }) => options.flatMap(([it]) => it.match(/--[\w-]+/g) ?? [])),
    ...OPTION_NAMES.map(longFlag).flatMap((it) => [it, it.replace('--no-', '--'), it.replace('--', '--no-')]),
  ]);
  for (const [path, text] of TEXTS)
    assert.deepEqual(
      (text.match(/(?<=`)--[\w-]+/g) ?? []).filter((it) => !flags.has(it)),
      [],
      path,
    );
});

/** Texts of these are no lines of a run: help that docs/options.md is made of, files that are written, findings with their cures, the stand-in. */
const NO_MESSAGES =
  /src\/tools|\/(?:sandbox|doctor|api)\/|alerts\/(?:events|message)|commands\/(?:table|program|completion|doctor|init)|config\/(?:options|values|targets)|http\/(?:page|metrics|view)|install\/cron|strays\/(?:bystander|program|tree)|intercept\/(?:libraries|certificates|variables)|supervisor\/(?:guard|recorder)|telegram\/webhook/;

interface Said {
  readonly text: string;
  /** The longest part of it that is always the same. */
  readonly piece: string;
  /** How many words that has; none: a command to type, or SQL. */
  readonly words: number;
}

function saidOf(raw: string): Said {
  const text = raw.trim().replace(/\s+/g, ' ');
  const piece = text
    .split(/…|^\[\w+\] /)
    .map((it) => it.trim())
    .sort((a, b) => b.length - a.length)[0]!;
  const isTyped =
    /^(?:…|\s)*(?:sudo |singlepoll |rm |SELECT |CREATE |WITH |cd |for f;)| {3}[#(]|\n|: SINGLEPOLL_DIR=/.test(
      raw,
    );
  const words = piece.split(' ').filter((word) => /^[("]?[\p{L}’'-]{2,}[,.:;)"?]*$/u.test(word));
  return { text, piece, words: isTyped ? 0 : words.length };
}

test('every message is explained, and no other', () => {
  const spans = [...TEXTS.get('docs/messages.md')!.matchAll(/(`+)(.+?)\1(?!`)/g)].map(([, , it = '']) =>
    saidOf(unescaped(it)),
  );
  const texts = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !NO_MESSAGES.test(`src/${path}`))
    .flatMap((path) => textsOf(`src/${path}`).map((text) => ({ path, ...saidOf(text) })));
  const includes = (whole: Said, part: Said, words: number) =>
    part.words >= words && whole.text.includes(part.piece);
  const unexplained = texts.filter(
    (it) => it.words >= 5 && !spans.some((span) => includes(span, it, 0) || includes(it, span, 3)),
  );
  const lines = unexplained.map(({ path, text }) => `src/${path}: ${text}`);
  assert.ok(lines.length === 0, `docs/messages.md has no row for\n${lines.join('\n')}`);
  const gone = spans.filter(
    (span) => span.words >= 4 && !texts.some((it) => includes(it, span, 0) || includes(span, it, 3)),
  );
  assert.deepEqual(
    gone.map(({ text }) => text),
    [],
    'docs/messages.md explains what nobody says',
  );
});
