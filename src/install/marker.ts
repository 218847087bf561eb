/** The line that marks a file as made by `install`, and tells `uninstall` and a second `install` whose it is. Pure. */

export interface Made {
  readonly name: string;
  /** Null: deploy mode without a token. */
  readonly bot: number | null;
  /** The folder it runs in. */
  readonly cwd: string;
  /** The private files that belong to it, absolute. */
  readonly files: readonly string[];
}

const MARK = 'Made by singlepoll install:';

/** One line without the sign of a comment; fits into one of XML, too, where `--` may not stand. */
export function markerText(made: Made): string {
  return `${MARK} ${JSON.stringify(made).replaceAll('-', '\\u002d')}`;
}

/** What was made, of the text of a file; null: not ours. */
export function readMarker(text: string): Made | null {
  const line = text.split('\n').find((it) => it.includes(MARK));
  const json = line?.slice(line.indexOf('{'), line.lastIndexOf('}') + 1) ?? '';
  try {
    const { name, bot, cwd, files } = JSON.parse(json) as Partial<Made>;
    if (typeof name !== 'string' || typeof cwd !== 'string') return null;
    const own = Array.isArray(files)
      ? files.filter((it) => typeof it === 'string' && it.startsWith('/'))
      : [];
    return { name, bot: typeof bot === 'number' ? bot : null, cwd, files: own };
  } catch {
    return null;
  }
}
