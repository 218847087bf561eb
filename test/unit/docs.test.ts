/**
 * README and docs say what is true: what the code's tables know is generated from them, and stands here between `<!-- generated: NAME -->`
 * and `<!-- end -->`. `npm run docs` writes it.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { COMMANDS } from '../../src/commands/table.ts';
import { longFlag, OPTION_NAMES, optionRow } from '../../src/config/options.ts';
import { FAMILIES } from '../../src/http/metrics.ts';

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
