/** The package as `npm pack` makes it of the sources as they are, in a copy of the checkout: a build beside the tests is not touched. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Packed {
  readonly path: string;
  /** What it was made of. */
  readonly clone: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

/** `change`: does something to the copy first. */
export function pack(folder: string, change: (clone: string) => void = () => {}): Packed {
  const clone = join(folder, 'clone');
  for (const name of execFileSync('git', ['ls-files'], { encoding: 'utf8' }).trim().split('\n'))
    if (!name.startsWith('test/')) cpSync(name, join(clone, name));
  symlinkSync(join(process.cwd(), 'node_modules'), join(clone, 'node_modules'));
  // With a build that is out of date.
  mkdirSync(join(clone, 'dist'));
  for (const name of ['stale.js', 'cli.js']) writeFileSync(join(clone, 'dist', name), 'throw 1;');
  change(clone);
  const said = execFileSync('npm', ['pack', '--json', '--loglevel=error', '--pack-destination', folder], {
    encoding: 'utf8',
    cwd: clone,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  type Told = Omit<Packed, 'path' | 'clone'> & { filename: string };
  const told = Object.values(JSON.parse(said.replace(/^[^[{]*/, '')) as Told[] | Record<string, Told>)[0];
  if (!told) throw new Error(`npm pack says: ${said}`);
  return { ...told, path: join(folder, told.filename), clone };
}
