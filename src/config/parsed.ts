/**
 * The answer of every parser in this folder: the value, or what is wrong with the text. A problem is a short clause
 * without the text itself (the caller shows that, masked) and without a full stop.
 */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

export function parsed<T>(value: T): Parsed<T> {
  return { ok: true, value };
}

export function unparsed(problem: string): { readonly ok: false; readonly problem: string } {
  return { ok: false, problem };
}
