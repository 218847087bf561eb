/** The layers of docs/architecture.md: imports, those of types too, go one way and in no circle; pure files import no code but of pure files. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { test } from 'node:test';

const SRC = join(import.meta.dirname, '../../src');

/** From the top down; who stands in one layer may import from it and from those below. */
const LAYERS = [
  ['cli.ts'],
  ['api', 'commands'],
  ['doctor', 'install'],
  ['supervisor', 'sandbox'],
  ['alerts', 'http', 'service'],
  ['gateway', 'intercept', 'lease', 'lock', 'machine', 'output', 'strays', 'telegram'],
  // What is decided, and the shape in which it is shown: types that everybody uses.
  ['supervisor/table.ts', 'supervisor/status.ts', 'supervisor/record.ts', 'supervisor/history.ts'],
  ['config'],
  ['errors.ts', 'files.ts', 'shell.ts', 'tools.ts', 'turns.ts'],
];
/** Decisions, and nothing else: no clock, no words, nothing that happens. */
const PURE =
  /^(?:turns|supervisor\/(?:table|status|record|history)|gateway\/(?:door|rivals|deafness|theft)|lease\/(?:keeper|timing)|lock\/election|strays\/(?:grade|tree|bystander|process|program|policy|reactions))\.ts$/;

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
const imports = files.flatMap(importsOf);
const layerOf = (file: string) => {
  const own = LAYERS.findIndex((names) => names.includes(file));
  return own >= 0 ? own : LAYERS.findIndex((names) => names.includes(file.split('/')[0]!));
};

function importsOf(file: string): Import[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  const static_ = [...text.matchAll(/^(?:import|export) (type )?(?:[^;]*? from )?'(\.[^']+)'/gms)];
  const late = [...text.matchAll(/(typeof )?import\('(\.[^']+)'\)/g)];
  return [...static_, ...late].map(([, type, path]) => ({
    from: file,
    to: normalize(join(file, '..', path!)),
    typeOnly: type !== undefined,
  }));
}

/** The files that can reach themselves. */
function inCircles(): string[] {
  const targets = new Map(files.map((file) => [file, importsOf(file).map(({ to }) => to)]));
  const below = (file: string) => targets.get(file) ?? [];
  return files.filter((file) => {
    const reached = new Set<string>();
    for (const queue = below(file); queue.length > 0; ) {
      const next = queue.pop()!;
      if (!reached.has(next)) queue.push(...below(next));
      reached.add(next);
    }
    return reached.has(file);
  });
}

const pairs = (list: readonly Import[]) => [...new Set(list.map(({ from, to }) => `${from} → ${to}`))].sort();

test('every folder and file of src has its layer', () => {
  const without = files.filter((file) => layerOf(file) < 0).map((file) => file.split('/')[0]);
  assert.deepEqual([...new Set(without)], []);
});

test('imports go down', () => {
  const up = imports.filter(({ from, to }) => layerOf(from) > layerOf(to));
  assert.deepEqual(pairs(up), []);
});

test('imports go in no circle', () => {
  assert.deepEqual(inCircles(), []);
});

test('arguments are read at once of the processes of a worker only: those of a stranger may hold up who reads them', () => {
  const readers = files.filter((file) => /\bargvOf\(/.test(readFileSync(join(SRC, file), 'utf8')));
  assert.deepEqual(readers.sort(), ['gateway/peers.ts', 'intercept/past.ts', 'machine/procfs.ts']);
});

test('pure files import types, and other pure files', () => {
  const impure = imports.filter(({ from, to, typeOnly }) => PURE.test(from) && !typeOnly && !PURE.test(to));
  assert.deepEqual(pairs(impure), []);
});
