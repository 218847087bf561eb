/** What doctor says about one place. Never holds a token. */
import type { Facts } from '../project/facts.ts';

export interface Finding {
  /** Stable name, such as `gunicorn-workers`. */
  readonly rule: string;
  /** Relative to the project; null where it is about the machine. */
  readonly file: string | null;
  /** From 1; null where a line makes no sense. */
  readonly line: number | null;
  readonly why: string;
  /** One line to type or to write. */
  readonly cure: string;
  /** A note is worth knowing, but nothing that makes a 409 where the project runs. */
  readonly note?: true;
}

export interface Rule {
  readonly id: string;
  /** For the README and `--help`: what it looks at. */
  readonly about: string;
  readonly check: (facts: Facts) => readonly Omit<Finding, 'rule'>[];
}

/** `app.py:12`. */
export const place = ({ file, line }: { readonly file: string; readonly line: number }): string =>
  `${file}:${line}`;
