/**
 * What every family of managers needs to turn a suspicion into an answer: the stray's line and cgroup layers,
 * our own account, and questions to the managers' tools with a time limit. Asks only, changes nothing.
 */
import type { Proc, Respawner } from '../../strays/process.ts';
import { foreignLayers, type Layer, layersOf } from './cgroup.ts';
import type { RespawnerContext } from './context.ts';
import { type Lineage, lineageOf } from './lineage.ts';
import { type Account, commandLine, printable, type Step } from './shell.ts';

export interface Inquiry {
  readonly ctx: RespawnerContext;
  readonly lineage: Lineage;
  /** Cgroup layers of the stray that we are not in ourselves, from the machine inwards. */
  readonly layers: readonly Layer[];
  readonly ownUid: number;
  /** The manager runs in a container that we are not in: accounts and tools of this machine mean nothing there. */
  readonly inside: boolean;
}

/** A family's answer: who brings it back, or `stops-here` (it does not, and nothing further out would notice), or `look-further`. */
export type Verdict = Respawner | 'stops-here' | 'look-further';

const ASK_TIMEOUT_MS = 1500;

/** Collects what is known before anybody is asked. */
export function inquiryOf(treeTop: Proc, stray: Proc, ctx: RespawnerContext): Inquiry {
  return {
    ctx,
    lineage: lineageOf(treeTop, stray, ctx.byPid),
    layers: foreignLayers(layersOf(ctx.readCgroup(stray.pid)), layersOf(ctx.ownCgroup)),
    ownUid: ctx.ownUid ?? process.getuid?.() ?? 0,
    inside: false,
  };
}

/** Standard output of a tool that ended with 0 (or with one of `alsoFine`); null where it did not, or is not there. */
export async function ask(
  inquiry: Inquiry,
  command: string,
  args: readonly string[],
  alsoFine: readonly number[] = [],
): Promise<string | null> {
  const { code, stdout } = await inquiry.ctx.run(command, [...args], ASK_TIMEOUT_MS);
  return code !== null && (code === 0 || alsoFine.includes(code)) ? stdout : null;
}

/** The same as another account: through `su` where we are root, not at all where we are a third. */
export async function askAs(inquiry: Inquiry, account: Account, step: Step): Promise<string | null> {
  const settings = Object.entries(step.env ?? {}).map(([name, value]) => `${name}=${value}`);
  if (account.uid === inquiry.ownUid) return ask(inquiry, 'env', [...settings, ...step.words]);
  if (inquiry.ownUid !== 0) return null;
  return ask(inquiry, 'su', ['-s', '/bin/sh', account.name, '-c', commandLine([step], account.uid, null)]);
}

/** The account with that number; its number serves as the name where the machine does not know it. */
export async function accountOf(inquiry: Inquiry, uid: number): Promise<Account> {
  if (uid < 0 || uid === inquiry.ownUid || uid === 0) return { uid, name: uid === 0 ? 'root' : String(uid) };
  const name = (await ask(inquiry, 'id', ['-nu', String(uid)]))?.trim();
  return { uid, name: name === undefined || name === '' ? `#${uid}` : name };
}

/** Puts an answer together: name made safe to show, commands written for the account that must type them. */
export function respawner(
  inquiry: Inquiry,
  kind: string,
  name: string,
  steps: readonly Step[],
  account: Account | null = null,
): Respawner {
  return { kind, name: printable(name), stopCommand: typed(inquiry, steps, account) };
}

/** Steps as one line to type, for the account that must run them. */
export function typed(inquiry: Inquiry, steps: readonly Step[], account: Account | null): string {
  return commandLine(steps, inquiry.ownUid, inquiry.inside ? null : account);
}

/** Reads JSON that a tool printed, from the first bracket on (some print warnings before it); null where it is none. */
export function parseJson(text: string | null): unknown {
  if (text === null) return null;
  for (const start of [0, text.indexOf('[{'), text.indexOf('[]'), text.indexOf('{')]) {
    if (start === -1) continue;
    try {
      return JSON.parse(text.slice(start));
    } catch {
      // The next bracket may be the right one.
    }
  }
  return null;
}

/** A member of an object that came from outside; undefined where there is none. */
export function member(value: unknown, ...path: readonly string[]): unknown {
  let at = value;
  for (const name of path) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = (at as Record<string, unknown>)[name];
  }
  return at;
}

/** The same, where only a non-empty string counts. */
export function textMember(value: unknown, ...path: readonly string[]): string | null {
  const found = member(value, ...path);
  return typeof found === 'string' && found !== '' ? found : null;
}
