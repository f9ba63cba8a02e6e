/** A report in one file: no script, nothing that is loaded from elsewhere. */
import { escaped, type Picture, standalone } from './svg.ts';

export interface ReportTable {
  title: string;
  head: readonly string[];
  rows: readonly (readonly (string | number)[])[];
}

export function htmlReport(
  title: string,
  notes: readonly string[],
  tables: readonly ReportTable[],
  pictures: readonly Picture[],
): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(title)}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 900px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left } figure { margin: 2em 0 } svg { width: 100%; height: auto }
</style>
</head>
<body>
<h1>${escaped(title)}</h1>
${notes.map((note) => `<p>${escaped(note)}</p>`).join('\n')}
${tables.map(tableHtml).join('\n')}
${pictures.map((picture) => `<figure>\n${standalone(picture)}</figure>`).join('\n')}
</body>
</html>
`;
}

function tableHtml({ title, head, rows }: ReportTable): string {
  const line = (cells: readonly (string | number)[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(String(cell))}</${tag}>`).join('')}</tr>`;
  return `<h2>${escaped(title)}</h2>\n<table>\n${line(head, 'th')}\n${rows.map((row) => line(row, 'td')).join('\n')}\n</table>`;
}
