/**
 * Text as lines of a character display: broken at blanks where possible, longer words cut. The meter's message screen and
 * the head end's preview of it both use this, so that the preview shows what the customer sees.
 */

/** Size of the meter's display in characters: 6 × 8 pixels each on 128 × 64. */
export const DISPLAY_COLUMNS = 21;
export const DISPLAY_ROWS = 8;

/** @returns at most `rows` lines of at most `columns` characters */
export function wrapText(text: string, columns = DISPLAY_COLUMNS, rows = DISPLAY_ROWS): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split(/\r?\n/)) {
    let line = '';
    for (const word of paragraph.split(' ')) {
      let rest = [...word];
      if (line !== '' && [...line].length + 1 + rest.length > columns) {
        lines.push(line);
        line = '';
      } else if (line !== '') line += ' ';
      while (rest.length > columns) {
        lines.push(rest.slice(0, columns).join(''));
        rest = rest.slice(columns);
      }
      line += rest.join('');
    }
    lines.push(line);
    if (lines.length >= rows) break;
  }
  return lines.slice(0, rows);
}
