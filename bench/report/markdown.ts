import { FIGURES, titleOf, type FigureName } from '../figures.js';
import type { Missing, Ratio, Row, Subject } from '../results.js';
import type { Summary } from '../statistics.js';
import type { MeasureReport, Report } from './report.js';

/** Where, when and with what was measured. */
export function headOf({ machine, versions, options, date }: Report): string {
  const facts = [
    `${machine.cpus} x ${machine.cpu}`,
    `Node ${machine.node}`,
    `Redis ${machine.redis}`,
    ...Object.entries(versions).map(([name, version]) => `${name} ${version}`),
    `rounds: ${options.rounds}`,
    `${options.seconds} s each`,
    date.slice(0, 10),
  ];
  return `${facts.join(', ')}. Medians, with the least and the greatest in brackets.`;
}

/** A measure's tables. */
export function measureToMarkdown({ title, counted, rows, ratios, missing }: MeasureReport): string {
  const parts = [`## ${title}`];
  if (rows.length > 0) {
    parts.push(rowsToTable(rows, counted));
  }
  if (ratios.length > 0) {
    parts.push(ratiosToTable(ratios, counted));
  }
  if (missing.length > 0) {
    parts.push(missingToList(missing));
  }
  return parts.join('\n\n');
}

function missingToList(missing: readonly Missing[]): string {
  const settings = new Map<string, string[]>();
  for (const { system, setting, reason } of missing) {
    const cause = `${system}: ${reason}`;
    settings.set(cause, [...(settings.get(cause) ?? []), setting]);
  }
  return [...settings].map(([cause, names]) => `- Not measured: ${cause} (${names.join('; ')})`).join('\n');
}

function rowsToTable(rows: readonly Row[], counted: string): string {
  const present = (Object.keys(FIGURES) as FigureName[]).filter((name) =>
    rows.some(({ figures }) => figures[name]),
  );
  return table([
    ['', ...present.map((name) => titleOf(name, counted))],
    ...rows.map((row) => [
      nameOf(row),
      ...present.map((name) => summaryText(row.figures[name], FIGURES[name].digits)),
    ]),
  ]);
}

function ratiosToTable(ratios: readonly Ratio[], counted: string): string {
  return table([
    ['ratio, by rounds', 'figure', 'median', 'mean, and between what it lies with 95 %'],
    ...ratios.map(({ figure, of, against, interval, ...summary }) => [
      `${nameOf(of)} / ${againstText(of, against)}`,
      titleOf(figure, counted),
      summaryText(summary, 2),
      interval
        ? `${interval.mean.toFixed(3)} (${interval.low.toFixed(3)} to ${interval.high.toFixed(3)})`
        : '',
    ]),
  ]);
}

function againstText(of: Subject, against: readonly Subject[]): string {
  const names = against.map((subject) => (subject.setting === of.setting ? subject.system : nameOf(subject)));
  return names.length === 1 ? names[0]! : `(${names.join(' + ')})`;
}

function nameOf({ system, setting }: Subject): string {
  return `${system}, ${setting}`;
}

function summaryText(summary: Summary | undefined, digits: number): string {
  if (!summary) {
    return '';
  }
  const [median, min, max] = [summary.median, summary.min, summary.max].map((value) => format(value, digits));
  return min === max ? median! : `${median} (${min}–${max})`;
}

function format(value: number, digits: number): string {
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** The first column to the left, the others to the right. */
function table([header = [], ...rows]: readonly (readonly string[])[]): string {
  const widths = header.map((_, i) => Math.max(3, ...[header, ...rows].map((row) => row[i]!.length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' | ')} |`;
  const rule = `| ${widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [line(header), rule, ...rows.map(line)].join('\n');
}
