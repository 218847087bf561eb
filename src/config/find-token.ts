/** Finds the token to use, and all others that a worker may read instead. Never puts any part of one into a message. */
import { modeText } from '../files.ts';
import { readTextFile } from './files.ts';
import { type Reading, type Source, showPath } from './sources.ts';
import { readToken, TOKEN_SHAPE, TOKEN_VARIABLES } from './token.ts';

interface Candidate {
  readonly text: string;
  readonly source: string;
  /** The same variable is set in a stronger place, which is no contradiction. */
  readonly isOverridden?: boolean;
}

/**
 * Reads the token file, the named variable, then the usual ones; each variable in the environment first, then in the env file.
 * The first place counts, but all are read, as a worker may read another variable and poll another bot.
 */
export function findToken(reading: Reading, cwd: string, polling: boolean, isNeeded: boolean) {
  const { values, whereSet, wrong, sources, warning } = reading;
  const { tokenEnv, tokenFile, sandbox } = values;
  const places = sources.filter(({ layer }) => layer.startsWith('env'));
  const fromVariables = candidatesIn(places, tokenEnv);
  const variables = [...new Set(fromVariables.map(({ name }) => name))];
  if (sandbox) {
    const given = [whereSet('tokenFile'), whereSet('tokenEnv'), variables.join(', ')].filter(Boolean);
    if (given.length > 0)
      warning(`--sandbox has a bot of its own: the token given (${given.join(', ')}) is not used`);
    return { found: null, variables };
  }
  const errors: string[] = [];
  const shown = tokenFile === null ? '' : showPath(tokenFile, cwd);
  const given = tokenFile === null ? [] : inTokenFile(tokenFile, shown, warning);
  const fromFile = typeof given === 'string' ? [] : given;
  if (typeof given === 'string') errors.push(`${whereSet('tokenFile')}: the token file ${shown} ${given}`);
  if (tokenEnv !== null && !variables.includes(tokenEnv))
    errors.push(
      `${whereSet('tokenEnv')}: the variable ${tokenEnv} is not set in ${places.map(({ shown }) => shown).join(' nor in ')}`,
    );
  const found = judge([...fromFile, ...fromVariables], errors, warning);
  const isUnknown = wrong.has('tokenFile') || wrong.has('tokenEnv') || errors.length > 0;
  if (polling && isNeeded && !found && !isUnknown) {
    const envFile = places.find(({ layer }) => layer === 'envFile');
    const file = envFile ? `nor in ${envFile.shown}` : `and there is no .env in ${showPath(cwd, '/')}`;
    const others = places.flatMap(({ values, shown }) =>
      Object.entries(values).flatMap(([name, text]) =>
        typeof text === 'string' && readToken(text).ok
          ? [`${name} in ${shown} looks like one: --token-env ${name}`]
          : [],
      ),
    );
    errors.push(
      `no bot token: ${TOKEN_VARIABLES.join(', ')} are not set in the environment, ${file}. ${others.map((it) => `${it}\n`).join('')}Give one by\n` +
        '  BOT_TOKEN=… in .env, or in the environment\n  --token-file PATH, --token-env NAME\n' +
        'or try without one: singlepoll start --sandbox',
    );
  }
  // Deploy mode calls nothing of Telegram, so a wrong or missing token must not prevent the worker's start.
  errors.forEach(polling ? reading.error : warning);
  return { found: errors.length > 0 ? null : found, variables };
}

function candidatesIn(places: readonly Source[], named: string | null): (Candidate & { name: string })[] {
  const usual = TOKEN_VARIABLES.filter((name) => name !== named);
  const inOrder = [named === null ? [] : [named], usual].flatMap((names) =>
    places.flatMap(({ values, shown }) =>
      names.flatMap((name) => {
        const text = values[name];
        return typeof text === 'string' && text !== '' ? [{ text, name, source: `${name} in ${shown}` }] : [];
      }),
    ),
  );
  return inOrder.map((it) => ({ ...it, isOverridden: inOrder.find(({ name }) => name === it.name) !== it }));
}

/** A text: what is wrong with it. */
function inTokenFile(path: string, shown: string, warning: Reading['warning']): Candidate[] | string {
  const file = readTextFile(path);
  if (file.kind === 'missing')
    return `is not there${/^~|\/~\//.test(shown) ? ' (~ is not expanded here)' : ''}`;
  if (file.kind !== 'text') return `cannot be used: ${file.problem}`;
  const text = file.text.split(/\r\n|\n|\r/, 1)[0]!.trim();
  if (text === '') return 'is empty, or its first line is';
  if ((file.mode & 0o077) !== 0)
    warning(
      `the token file ${shown} is open to other users (mode ${modeText(file.mode)}): chmod 600 ${shown}`,
    );
  return [{ text, source: `the file ${shown}` }];
}

function judge(candidates: readonly Candidate[], errors: string[], warning: Reading['warning']) {
  let first: { readonly token: string; readonly botId: number; readonly source: string } | null = null;
  for (const [index, { text, source, isOverridden }] of candidates.entries()) {
    const read = readToken(text);
    if (!read.ok) {
      // Only the token that is used must be valid; one in a weaker place must not stop the bot.
      if (index > 0) warning(`${source} is no bot token and is not used: ${read.problem}`);
      else errors.push(`${source} is no bot token: ${read.problem}.\nA token looks like ${TOKEN_SHAPE}.`);
    } else if (first === null) first = { token: text, botId: read.botId, source };
    else if (read.botId !== first.botId) {
      const both = `${first.source} is bot ${first.botId}, ${source} is bot ${read.botId}`;
      if (isOverridden) warning(`${both}; the environment wins`);
      else errors.push(`two different bots: ${both}\nleave only one of them set`);
    } else if (text !== first.token)
      warning(
        `${source} holds another secret for bot ${first.botId} than ${first.source}, which is used; one of the two is probably revoked`,
      );
  }
  return first;
}
