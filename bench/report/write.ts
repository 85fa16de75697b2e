import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Report } from './report.js';

/** Writes all figures to a file, where one is named. */
export function writeJson(file: string | undefined, report: Report): void {
  if (file !== undefined) {
    writeText(file, `${JSON.stringify(report, undefined, 2)}\n`);
  }
}

/** Writes a file, and makes its folder. */
export function writeText(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
