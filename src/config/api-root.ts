/**
 * The root under which `/bot<token>/METHOD` lives. It is kept without a trailing slash and with its path, because a local
 * Bot API server may sit under one (https://core.telegram.org/bots/api#using-a-local-bot-api-server).
 */
import { type Parsed, parsed, unparsed } from './parsed.ts';

export const DEFAULT_API_ROOT = 'https://api.telegram.org';

/** Checks and normalises a Bot API root: scheme and host in lower case, no default port, no trailing slash. */
export function parseApiRoot(text: string): Parsed<string> {
  const trimmed = text.trim();
  if (trimmed === '') return unparsed('it is empty');
  let url: URL;
  try {
    url = new URL(trimmed);
  } catch {
    const bare = /^[\w.-]+(?::\d+)?(?:\/|$)/.test(trimmed);
    return unparsed(bare ? 'the http:// or https:// is missing' : 'it is not a URL');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    // `localhost:8081` parses as a URL whose scheme is "localhost:".
    if (/^[\w.-]+:\d+(?:\/|$)/.test(trimmed)) return unparsed('the http:// or https:// is missing');
    return unparsed('it is neither http nor https');
  }
  if (url.username !== '' || url.password !== '') return unparsed('it holds a user name or password');
  if (/\/bot\d+(?::|%3a)/i.test(url.pathname)) return unparsed('it holds a bot token');
  if (trimmed.includes('?') || trimmed.includes('#')) return unparsed('it holds a query or a fragment');
  const path = url.pathname.replace(/\/+$/, '');
  if (path.endsWith('/bot')) return unparsed('it ends in /bot, which singlepoll adds itself');
  return parsed(`${url.origin}${path}`);
}
