// The declarations of the API (`import { start } from 'singlepoll'`): those of tsc, without the files that they do not reach.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** `entry` is a path in `folder`, which is the outDir of tsconfig.types.json. */
export function emitTypes(folder, entry) {
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.types.json'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const reached = new Set();
  follow(path.join(folder, entry), reached);
  for (const name of readdirSync(folder, { recursive: true })) {
    const file = path.join(folder, name);
    if (name.endsWith('.d.ts') && !reached.has(file)) rmSync(file);
  }
}

function follow(file, reached) {
  if (reached.has(file)) return;
  reached.add(file);
  // Users import compiled modules, so the declarations name those and not the sources.
  const text = readFileSync(file, 'utf8').replaceAll(/(from '\.[^']*)\.ts'/g, "$1.js'");
  writeFileSync(file, text);
  for (const [, target] of text.matchAll(/from '(\.[^']*)\.js'/g))
    follow(path.join(path.dirname(file), `${target}.d.ts`), reached);
}
