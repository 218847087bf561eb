/** `singlepoll doctor`: names the causes of a 409 before they happen. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { showValue } from '../config/messages.ts';
import { examine } from '../doctor/examine.ts';
import { screen, toDocument } from '../doctor/screen.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { painter } from '../output/words.ts';
import { workingFolder } from './context.ts';

/** `folder`: null for the working folder. */
export async function run(folder: string | null, own: Readonly<Record<string, unknown>>): Promise<number> {
  const path = resolve(workingFolder(), folder ?? '.');
  refuseNoFolder(path);
  const examination = await examine(path, own.offline === true, process.env).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES' || error.code === 'EPERM') {
        throw new SinglepollError(EXIT.config, `${showValue(path)} may not be read by this user`);
      }
      throw error;
    },
  );
  process.stdout.write(
    own.json === true
      ? `${JSON.stringify(toDocument(examination))}\n`
      : screen(examination, await painter(process.stdout, process.env)),
  );
  return examination.findings.length === 0 ? EXIT.ok : 1;
}

function refuseNoFolder(path: string): void {
  let problem: string | null = null;
  try {
    if (!statSync(path).isDirectory()) problem = 'is not a folder';
  } catch (error) {
    problem = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'is not there' : 'can’t be looked at';
  }
  if (problem !== null) {
    throw new SinglepollError(
      EXIT.config,
      `${showValue(path)} ${problem}`,
      'singlepoll doctor path/to/the/project',
    );
  }
}
