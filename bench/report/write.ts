import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Report } from './report.js';

/** Writes all figures to a file, where one is named. */
export function writeJson(file: string | undefined, report: Report): void {
  writeText(file, `${JSON.stringify(report, undefined, 2)}\n`);
}

/** Writes a file, where one is named, and makes its folder. */
export function writeText(file: string | undefined, text: string): void {
  if (file !== undefined) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}
