import { cpus } from 'node:os';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findRedis } from '../../test/support/redis-binary.js';
import type { Measure } from '../measures/measure.js';
import type { BenchOptions } from '../options.js';
import { ROOT } from '../paths.js';
import { chosenIoredis } from '../processes/ioredis.js';
import type { Missing, Ratio, Results, Row } from '../results.js';

/** All that a run has found; what `--json` writes. */
export interface Report {
  date: string;
  machine: { platform: string; cpu: string; cpus: number; node: string; redis: string };
  versions: Record<string, string>;
  options: Omit<BenchOptions, 'json' | 'svg'>;
  measures: MeasureReport[];
}

/** What a measure has found. */
export interface MeasureReport {
  name: string;
  title: string;
  counted: string;
  rows: Row[];
  ratios: Ratio[];
  missing: Missing[];
}

/** The report of a run that has just begun. */
export function startReport({ json: _, svg: __, ...options }: BenchOptions): Report {
  return {
    date: new Date().toISOString(),
    machine: {
      platform: `${process.platform} ${process.arch}`,
      cpu: cpus()[0]?.model ?? 'unknown',
      cpus: cpus().length,
      node: process.version,
      redis: redisVersion(),
    },
    versions: withChosenIoredis(versionsOf(['@nestjs/microservices', 'ioredis'])),
    options,
    measures: [],
  };
}

/** What is reported of a measure. */
export function reportOf(name: string, measure: Measure, results: Results): MeasureReport {
  const { title, counted, comparisons = [] } = measure;
  return {
    name,
    title,
    counted,
    rows: results.rows(),
    ratios: results.ratios(comparisons),
    missing: results.missing,
  };
}

function withChosenIoredis(versions: Record<string, string>): Record<string, string> {
  const ioredis = chosenIoredis();
  return ioredis === undefined ? versions : { ...versions, ioredis };
}

function redisVersion(): string {
  const binary = findRedis();
  const text = binary && execFileSync(binary, ['--version'], { encoding: 'utf8' });
  return /v=(\S+)/.exec(text ?? '')?.[1] ?? 'unknown';
}

function versionsOf(packages: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    packages.map((name) => {
      // Not by require(): what a package exports need not include this file.
      const text = readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8');
      return [name, (JSON.parse(text) as { version: string }).version];
    }),
  );
}
