// The declarations of the API (`import { start } from 'singlepoll'`): those of tsc, without the files that they do not reach.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** `entry` is a path in `folder`, which is the outDir of tsconfig.types.json. */
export function emitTypes(folder, entry) {
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.types.json'], {
    stdio: 'inherit',
  });
  const reached = new Set([join(folder, entry)]);
  for (const file of reached) {
    // Users import compiled modules, so the declarations name those and not the sources.
    const text = readFileSync(file, 'utf8').replaceAll(/(from '\.[^']*)\.ts'/g, "$1.js'");
    writeFileSync(file, text);
    for (const [, target] of text.matchAll(/from '(\.[^']*)\.js'/g))
      reached.add(join(dirname(file), `${target}.d.ts`));
  }
  for (const file of readdirSync(folder, { recursive: true }).map((name) => join(folder, name)))
    if (file.endsWith('.d.ts') && !reached.has(file)) rmSync(file);
}
