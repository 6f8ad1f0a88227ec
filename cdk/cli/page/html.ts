/** HTML from templates that escape their values. */

/** A piece of HTML. A template escapes everything else. */
export class Html {
  private constructor(readonly text: string) {}

  /** A piece that is HTML already. Never for a text of AWS or of people. */
  static of(text: string): Html {
    return new Html(text);
  }
}

type Value = string | number | Html | undefined | readonly Value[];

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function piece(value: Value): string {
  if (value === undefined) return '';
  if (value instanceof Html) return value.text;
  if (typeof value === 'object') return value.map(piece).join('');
  return String(value).replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
}

/**
 * A template. Its values are texts, also in attributes with quotes, or pieces of HTML, or lists of both. The indentation of
 * the template is left out.
 */
export function html(parts: TemplateStringsArray, ...values: Value[]): Html {
  return Html.of(parts.map((part, at) => `${part.replace(/\n\s*/g, '\n')}${piece(values[at])}`).join(''));
}
