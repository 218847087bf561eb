/** The shape of a Bot API token, `123456:AA…` (core.telegram.org/bots/api, "Authorizing your bot"), in one place. Pure. */

/** Enough of a secret behind an id of five digits or more to be masked wherever it stands. */
export const SECRET_MIN = 20;
/** The same in a path of the API, where `bot` stands before the id. */
export const BOT_SECRET_MIN = 8;

/** A token in a text to be shown; its first group is the id. */
export const ANY_TOKEN = /(\d{5,}):[A-Za-z0-9_-]{20,}/g;
/** A token as @BotFather gives them, rather than something that only might be one. */
export const WHOLE_TOKEN = /(?<!\d)(\d{5,16}):[A-Za-z0-9_-]{30,}/g;

/** The parts of one of our own tokens, whatever its lengths; null: it is none. */
export function partsOf(token: string): { readonly id: string; readonly secret: string } | null {
  const [, id, secret] = /^(\d+):([A-Za-z0-9_-]+)$/.exec(token) ?? [];
  return id === undefined || secret === undefined ? null : { id, secret };
}
