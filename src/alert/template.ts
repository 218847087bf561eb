/**
 * A body of one's own for --alert-url: JSON or text with `{{text}}` and its like. In JSON what is put in is escaped for the inside of
 * a string. Pure.
 */

export const PLACEHOLDERS = [
  'text',
  'title',
  'message',
  'event',
  'level',
  'bot',
  'botId',
  'host',
  'at',
  'hint',
  'more',
] as const;
export type Placeholder = (typeof PLACEHOLDERS)[number];

export interface Template {
  readonly text: string;
  readonly json: boolean;
}

export type ParsedTemplate =
  | { readonly ok: true; readonly template: Template }
  | { readonly ok: false; readonly problem: string };

const PLACEHOLDER = /\{\{\s*([^{}]*?)\s*\}\}/g;

/** JSON where it begins like it: then it has to be. */
export function parseTemplate(text: string): ParsedTemplate {
  const trimmed = text.trim();
  if (trimmed === '') return { ok: false, problem: 'it is empty' };
  for (const [, name = ''] of text.matchAll(PLACEHOLDER)) {
    if (!(PLACEHOLDERS as readonly string[]).includes(name))
      return { ok: false, problem: `{{${name}}} is no placeholder; there are ${PLACEHOLDERS.join(', ')}` };
  }
  const template = {
    text,
    json: /^[{[]/.test(trimmed.replace(PLACEHOLDER, '')) && !trimmed.startsWith('{{'),
  };
  if (!template.json) return { ok: true, template };
  try {
    JSON.parse(fill(template, () => '1'));
    return { ok: true, template };
  } catch (error) {
    return { ok: false, problem: `it begins like JSON and is none: ${(error as Error).message}` };
  }
}

export function fill({ text, json }: Template, value: (name: Placeholder) => string): string {
  return text.replace(PLACEHOLDER, (_whole, name: Placeholder) => {
    const put = value(name);
    return json ? JSON.stringify(put).slice(1, -1) : put;
  });
}
