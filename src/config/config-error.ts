/**
 * A mistake in the configuration, and how all mistakes of one invocation become the one error that ends it.
 */
import { EXIT, SinglepollError } from '../errors.ts';

export interface ConfigError {
  /** Where the value came from: `--backoff`, `SINGLEPOLL_BACKOFF in the environment`, `.env line 3`. */
  readonly where: string;
  /** The whole sentence, with where, the value (masked) and what is accepted. May have several lines. */
  readonly message: string;
}

/** One SinglepollError (78) that shows every mistake, each on a line of its own. */
export function configFailure(errors: readonly ConfigError[]): SinglepollError {
  const messages = errors.map((error) => error.message);
  const text =
    messages.length === 1
      ? messages[0]!
      : `${messages.length} mistakes in the configuration:\n${messages.map((message) => `- ${message.replaceAll('\n', '\n  ')}`).join('\n')}`;
  return new SinglepollError(EXIT.config, text);
}
