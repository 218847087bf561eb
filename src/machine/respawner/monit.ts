/**
 * monit: it is nobody's parent (what it starts must put itself in the background), so it is found by its
 * configuration: a `check process` with a pid file of the stray, or a pattern that matches it, and a start program.
 * Facts: monit(1), sections "Process", "Service methods", "Service mode".
 */
import type { Proc } from '../../strays/process.ts';
import type { RespawnerContext } from './context.ts';
import { accountOf, ask, type Inquiry, respawner, typed, type Verdict } from './inquiry.ts';
import { baseName, optionOf, programOf, resolveIn } from './lineage.ts';
import { shellQuote } from './shell.ts';

export interface MonitCheck {
  readonly name: string;
  readonly pidFile: string | null;
  readonly pattern: string | null;
  readonly canStart: boolean;
  readonly canStop: boolean;
}

export interface MonitSuspicion {
  readonly daemon: Proc;
  readonly configPath: string;
  readonly configIsDefault: boolean;
  readonly check: MonitCheck;
  /** monit's own commands reach it only where its web interface or socket is on. */
  readonly reachable: boolean;
}

const DEFAULT_PATHS = ['/etc/monit/monitrc', '/etc/monitrc', '/usr/local/etc/monitrc'];

/** A running monit whose configuration we may read and that starts the stray's tree. */
export function suspectMonit(tree: readonly Proc[], ctx: RespawnerContext): MonitSuspicion | null {
  for (const daemon of ctx.byPid.values()) {
    if (baseName(programOf(daemon)) !== 'monit') continue;
    const named = optionOf(daemon.argv.slice(1), '-c', null);
    const named2 = named === null ? null : resolveIn(daemon.cwd, named);
    for (const configPath of named2 === null ? DEFAULT_PATHS : [named2]) {
      const text = readConfig(configPath, ctx);
      const check = parseMonit(text).find(
        (candidate) => candidate.canStart && meansOneOf(candidate, tree, ctx),
      );
      if (check === undefined) continue;
      const reachable = /^\s*set\s+httpd\b/im.test(text);
      return { daemon, configPath, configIsDefault: named2 === null, check, reachable };
    }
  }
  return null;
}

/** Names the check, unless monit says that it does not watch it any more. */
export async function nameMonit(suspicion: MonitSuspicion, inquiry: Inquiry): Promise<Verdict> {
  const { check, configPath, configIsDefault, daemon, reachable } = suspicion;
  const monit = configIsDefault ? ['monit'] : ['monit', '-c', configPath];
  const account = await accountOf(inquiry, daemon.uid);
  if (!reachable) {
    const reload = typed(inquiry, [{ words: [...monit, 'reload'] }], account);
    const edit = inquiry.ownUid === account.uid ? `"\${EDITOR:-vi}"` : 'sudoedit';
    const stopCommand = `${edit} ${shellQuote(configPath)} && ${reload}   # remove "check process ${check.name}"`;
    return { ...respawner(inquiry, 'monit', check.name, []), stopCommand };
  }
  const status = await ask(inquiry, monit[0]!, [...monit.slice(1), 'status', check.name]);
  if (status !== null && /monitoring status\s+Not monitored/.test(status)) return 'look-further';
  const verb = check.canStop ? 'stop' : 'unmonitor';
  return respawner(inquiry, 'monit', check.name, [{ words: [...monit, verb, check.name] }], account);
}

/** The `check process` entries of a configuration; those in passive mode start nothing. */
export function parseMonit(text: string): readonly MonitCheck[] {
  const bare = text.replace(/^\s*#.*$/gm, '');
  return bare
    .split(/^(?=\s*check\s)/im)
    .map((entry) => {
      const head = /^\s*check\s+process\s+("[^"]+"|'[^']+'|\S+)/i.exec(entry);
      if (head === null) return null;
      const pidFile = /\b(?:with\s+)?pidfile\s+("[^"]+"|'[^']+'|\S+)/i.exec(entry)?.[1];
      const pattern = /\bmatch(?:ing)?\s+("[^"]+"|'[^']+'|\S+)/i.exec(entry)?.[1];
      const passive = /^\s*mode\s+passive\b/im.test(entry);
      return {
        name: unquoted(head[1]!),
        pidFile: pidFile === undefined ? null : unquoted(pidFile),
        pattern: pattern === undefined ? null : unquoted(pattern),
        canStart: !passive && /\bstart(?:\s+program)?\s*(?:=|["'])/i.test(entry),
        canStop: /\bstop(?:\s+program)?\s*(?:=|["'])/i.test(entry),
      };
    })
    .filter((check) => check !== null);
}

function meansOneOf(check: MonitCheck, tree: readonly Proc[], ctx: RespawnerContext): boolean {
  if (check.pidFile !== null) {
    const pid = Number.parseInt(ctx.readText?.(check.pidFile) ?? '', 10);
    return tree.some((proc) => proc.pid === pid);
  }
  if (check.pattern === null) return false;
  try {
    const pattern = new RegExp(check.pattern);
    return tree.some((proc) => pattern.test(proc.argv.join(' ')));
  } catch {
    return tree.some((proc) => proc.argv.join(' ').includes(check.pattern!));
  }
}

function readConfig(path: string, ctx: RespawnerContext): string {
  const text = ctx.readText?.(path) ?? '';
  const parts = [text];
  for (const match of text.matchAll(/^\s*include\s+(\S+)/gim)) {
    const pattern = unquoted(match[1]!);
    const slash = pattern.lastIndexOf('/');
    if (!pattern.endsWith('*')) parts.push(ctx.readText?.(pattern) ?? '');
    else
      for (const name of ctx.listFolder?.(pattern.slice(0, slash)) ?? [])
        parts.push(ctx.readText?.(`${pattern.slice(0, slash)}/${name}`) ?? '');
  }
  return parts.join('\n');
}

function unquoted(word: string): string {
  return word.replace(/^(["'])(.*)\1$/, '$2');
}
