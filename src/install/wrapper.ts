/** The script that launchd and cron start: they read no env file. POSIX sh. Pure. */
import { markerText } from './marker.ts';
import type { Plan } from './plan.ts';
import { shellWord } from './quote.ts';

/** At boot the network may come late: cron starts nothing twice, so the script does. */
const CRON_TRIES = 60;
const CRON_PAUSE_S = 10;

export function wrapperScript(plan: Plan): string {
  const head = [
    '#!/bin/sh',
    `# ${markerText(plan.made)}`,
    'set -a',
    '# shellcheck source=/dev/null',
    `. ${shellWord(plan.envPath)}`,
    'set +a',
    `cd ${shellWord(plan.cwd)} || exit 78`,
  ];
  const command = plan.words.map(shellWord).join(' ');
  const body = plan.kind === 'cron' ? untilReachable(command) : yielding(command);
  return `${[...head, ...body].join('\n')}\n`;
}

/** `start -d` ends with 69 where the Bot API is out of reach. */
function untilReachable(command: string): string[] {
  return [
    'tries=0',
    'while :; do',
    `  ${command}`,
    '  code=$?',
    '  tries=$((tries + 1))',
    `  if [ "$code" -ne 69 ] || [ "$tries" -ge ${CRON_TRIES} ]; then exit "$code"; fi`,
    '  # The Bot API was out of reach: the network comes late after a boot.',
    `  sleep ${CRON_PAUSE_S}`,
    'done',
  ];
}

/** launchd knows of exit codes only 0 and the rest, and asks only its first process to stop. */
function yielding(command: string): string[] {
  return [
    `${command} &`,
    'child=$!',
    `trap 'kill -TERM "$child" 2>/dev/null' TERM INT`,
    `trap 'kill -HUP "$child" 2>/dev/null' HUP`,
    'wait "$child"',
    'code=$?',
    '# A signal ends the wait, not the child.',
    'while kill -0 "$child" 2>/dev/null; do',
    '  wait "$child"',
    '  code=$?',
    'done',
    '# launchd starts again what ends with anything but 0. To start again cures none of these: usage, another poller lives,',
    '# token refused, configuration.',
    'case $code in',
    '64 | 75 | 77 | 78)',
    '  echo "singlepoll ended with $code: not started again" >&2',
    '  exit 0',
    '  ;;',
    'esac',
    'exit "$code"',
  ];
}
