/**
 * Reads `a=1&b=2`, from a query string or a form body. Source: tdlib/td HttpReader::parse_parameters.
 */
import type { Args } from './args.ts';
import { percentDecode } from './request-path.ts';

export function addFormParams(text: string, args: Args): void {
  if (text === '') return;
  for (const pair of text.split('&')) {
    const equals = pair.indexOf('=');
    const name = equals === -1 ? pair : pair.slice(0, equals);
    args.add(percentDecode(name, true), equals === -1 ? '' : percentDecode(pair.slice(equals + 1), true));
  }
}
