// The licences of the packages that went into the bundles: most ask that their text goes along.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** `inputs`: paths of bundled files. Returns one text; throws where a package has no licence text. */
export function notices(inputs) {
  const folders = new Set(inputs.map(packageFolder).filter(Boolean));
  const parts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e(?:\.(?:md|txt))?$/i.test(entry));
    if (file === undefined && license === undefined) throw new Error(`${name} has no licence`);
    const text =
      file === undefined ? `Licence: ${license}` : readFileSync(path.join(folder, file), 'utf8').trim();
    return `${name} ${version}\n\n${text}\n`;
  });
  const line = `\n${'-'.repeat(80)}\n\n`;
  return `singlepoll includes these packages:\n${line}${parts.join(line)}`;
}

/** The outermost folder of the package that a file belongs to; null: it is our own. */
function packageFolder(file) {
  const words = file.split(/[\\/]/);
  const at = words.lastIndexOf('node_modules');
  if (at < 0) return null;
  const folder = words.slice(0, at + (words[at + 1].startsWith('@') ? 3 : 2)).join(path.sep);
  return existsSync(path.join(folder, 'package.json')) ? folder : null;
}
