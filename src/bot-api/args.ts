/**
 * The parameters of one Bot API call, read as the server reads them: everything is a string, the first occurrence of
 * a name wins, integers and booleans never fail. Source: tdlib/telegram-bot-api Query::arg, Client::get_integer_arg,
 * Client::to_bool; tdlib/td to_integer.
 */

export interface UploadedFile {
  readonly field: string;
  readonly fileName: string;
  readonly contentType: string;
  readonly bytes: Buffer;
}

export interface Args {
  /** First value of `name`, or `''` where it is absent (the server does not tell the two apart). */
  get(name: string): string;
  has(name: string): boolean;
  add(name: string, value: string): void;
  entries(): Iterable<[string, string]>;
  readonly files: UploadedFile[];
}

export function createArgs(initial: Record<string, string> = {}): Args {
  const values = new Map<string, string>(Object.entries(initial));
  return {
    files: [],
    get: (name) => values.get(name) ?? '',
    has: (name) => values.has(name),
    add: (name, value) => {
      if (!values.has(name)) values.set(name, value);
    },
    entries: () => values.entries(),
  };
}

const INT32_MAX = 2_147_483_647;
const INT32_MIN = -2_147_483_648;

/** Leading digits with an optional minus, else 0; `''` is the fallback; then clamped. Never fails. */
export function integerArg(
  args: Args,
  name: string,
  fallback: number,
  min = INT32_MIN,
  max = INT32_MAX,
): number {
  const text = args.get(name);
  const value = text === '' ? fallback : Number(/^-?\d+/.exec(text)?.[0] ?? 0);
  return Math.min(Math.max(value, min), max);
}

/** `true`, `yes`, `1`, trimmed, in any case; everything else is false. */
export function booleanArg(args: Args, name: string): boolean {
  return ['true', 'yes', '1'].includes(args.get(name).trim().toLowerCase());
}
