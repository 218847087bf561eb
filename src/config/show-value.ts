/**
 * How a value that somebody configured is shown in a message: in quotes, short, on one line, without anything secret.
 * People paste tokens into the wrong option, so every value shown by the configuration goes through here.
 */

const TOKEN = /(\d{3,20}):[A-Za-z0-9_-]{16,}/g;
const URL_CREDENTIALS = /:\/\/[^/?#\s]*@/g;
const LONGEST_SHOWN = 100;

/** True where the text holds something shaped like a bot token. */
export function holdsTokenShape(text: string): boolean {
  return text.search(TOKEN) >= 0;
}

/** The text with tokens as `123456:…` and URL credentials as `…`; otherwise as it is. */
export function maskSecrets(text: string): string {
  return text.replace(TOKEN, '$1:…').replace(URL_CREDENTIALS, '://…@');
}

/** The text in double quotes, secrets masked, control characters escaped, at most 100 characters of it. */
export function showValue(text: string): string {
  const masked = maskSecrets(text);
  const short = masked.length > LONGEST_SHOWN ? `${masked.slice(0, LONGEST_SHOWN)}…` : masked;
  // JSON escapes C0 only; C1 and DEL steer terminals too, and a lone surrogate breaks UTF-8 output.
  return JSON.stringify(short).replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
