/** `singlepoll doctor`: names the causes of a 409 before they happen. */
import { resolve } from 'node:path';
import type { Config } from '../config/load.ts';
import { showValue } from '../config/messages.ts';
import { examine, json, screen } from '../doctor/report.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { painter } from '../output/words.ts';
import { usualAnswer } from './answers.ts';
import { workingFolder } from './context.ts';

/** Beside the looks at the project an answer may take longer than usual. */
const statusOf = (config: Config) => usualAnswer(config, 3_000);

const PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'is not there',
  ENOTDIR: 'is not a folder',
  ENAMETOOLONG: 'is not there',
  EACCES: 'may not be read by this user',
  EPERM: 'may not be read by this user',
};

/** `folder`: null for the working folder. */
export async function run(folder: string | null, own: Readonly<Record<string, unknown>>): Promise<number> {
  const path = resolve(workingFolder(), folder ?? '.');
  const report = await examine(path, own.offline === true, process.env, statusOf).catch((error) => {
    const problem = PROBLEMS[error.code];
    if (problem === undefined) throw error;
    throw new SinglepollError(
      EXIT.config,
      `${showValue(path)} ${problem}`,
      'singlepoll doctor path/to/the/project',
    );
  });
  const text = own.json === true ? json(report) : screen(report, await painter(process.stdout));
  process.stdout.write(text);
  return report.findings.length === 0 ? EXIT.ok : 1;
}
