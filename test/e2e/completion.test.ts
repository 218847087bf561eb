// The completion scripts, in the shells that they are for.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { COMMAND, PROGRAM } from '../support/cli.ts';
import { isRemoved, until } from '../support/wait.ts';

const folder = mkdtempSync(join(tmpdir(), 'sp-completion-'));
// fish may still write into its HOME behind us.
after(() => until('fish to leave the folder alone', () => isRemoved(folder)));
const states = join(folder, 'states');
// A shell that expanded the last would offer 799.
for (const id of ['12345', '678', 'other', '7$(echo 99)', '9x']) {
  mkdirSync(join(states, id), { recursive: true, mode: 0o700 });
  writeFileSync(join(states, id, 'last-start.json'), '{}');
}
chmodSync(states, 0o700);
symlinkSync(COMMAND, join(folder, 'singlepoll'));
const env = {
  PATH: `${folder}:${process.env.PATH}`,
  HOME: folder,
  SINGLEPOLL_DIR: states,
  LANG: 'C.UTF-8',
  TERM: 'screen',
};
const script = (shell: string): string => {
  const path = join(folder, `completion.${shell}`);
  writeFileSync(path, execFileSync(process.execPath, ['--', PROGRAM, 'completion', shell]));
  return path;
};
const scripts = { bash: script('bash'), zsh: script('zsh'), fish: script('fish') };

/** A line, and what is offered for its last word, in the order of the alphabet. */
const LINES: [string, string[]][] = [
  ['singlepoll sta', ['start', 'status']],
  ['singlepoll start --restart ', ['always', 'never', 'on-failure']],
  ['singlepoll start --restart always --seal', ['--sealed']],
  ['singlepoll status --bot ', ['12345', '678']],
  ['singlepoll install --kind ', ['cron', 'systemd']],
  ['singlepoll start --restart=a', ['--restart=always']],
  [`singlepoll start --config ${folder}/completion.b`, [`${folder}/completion.bash`]],
  [`singlepoll start -- cat ${folder}/completion.z`, [`${folder}/completion.zsh`]],
  ['singlepoll stop --sealed', []],
];

test('bash, which shellcheck has nothing to say about', () => {
  const checked = spawnSync('shellcheck', [scripts.bash], { encoding: 'utf8' });
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  const ask = (words: string[]): string[] => {
    const text = `source ${scripts.bash}; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _singlepoll; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const options = { env, encoding: 'utf8' } as const;
    const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', text, 'bash', ...words], options);
    assert.equal(stderr, '');
    return stdout.split('\n').filter(Boolean).sort();
  };
  for (const [line, offered] of LINES) assert.deepEqual(ask(line.split(' ')), offered, line);
  // As bash itself takes such a word apart.
  assert.deepEqual(ask(['singlepoll', 'start', '--restart', '=', 'on']), ['on-failure']);
});

test('fish', () => {
  for (const [line, offered] of LINES) {
    const text = `source ${scripts.fish}; complete -C ${JSON.stringify(line)}`;
    const { stdout } = spawnSync('fish', ['--no-config', '-c', text], { env, encoding: 'utf8' });
    const words = stdout.split('\n').filter(Boolean);
    assert.deepEqual(words.map((it) => it.split('\t')[0]).sort(), offered, line);
  }
});

test('zsh, by TAB in a real terminal', async (t) => {
  const socket = join(folder, 'tmux');
  const tmux = (...args: string[]) =>
    execFileSync('tmux', ['-S', socket, '-f', '/dev/null', ...args], { env, encoding: 'utf8' });
  t.after(() => spawnSync('tmux', ['-S', socket, 'kill-server']));
  tmux('new-session', '-d', '-s', 'zsh', '-x', '90', '-y', '30', 'zsh -f');
  const screen = () => tmux('capture-pane', '-p', '-t', 'zsh').trimEnd();
  const shows = (pattern: RegExp) =>
    until(`zsh to show ${pattern}`, () => pattern.test(screen()), { seen: screen });
  const setup = `PS1='> '; autoload -U compinit; compinit -u; source ${scripts.zsh}; clear`;
  tmux('send-keys', '-t', 'zsh', setup, 'Enter');
  await shows(/^> $|^>$/);
  for (const [typed, shown] of [
    ['singlepoll sand', /^> singlepoll sandbox\s*$/],
    [' --po', /^> singlepoll sandbox +--port/],
    ['singlepoll start --restart=al', /> singlepoll start --restart=always/],
    ['singlepoll status --bot 1', /> singlepoll status --bot 12345/],
  ] as const) {
    tmux('send-keys', '-t', 'zsh', ...(typed.startsWith(' ') ? [] : ['C-u']), typed, 'Tab');
    await shows(shown);
  }
});
