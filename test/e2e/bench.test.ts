import { transformFileSync } from '@swc/core';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

const RUN_WITHIN_MS = 60_000;
/** Less than what it waits for the answer of a process that is stuck. */
const INTERRUPTED_WITHIN_MS = 25_000;

/** What of the report is looked at. */
interface Report {
  machine: { node: string };
  measures: {
    name: string;
    rows: {
      system: string;
      setting: string;
      figures: Record<string, { median: number; samples: number[] }>;
    }[];
    missing: unknown[];
  }[];
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'redis-streams-bench-'));
  // The package itself, by its name; not in the repository's dist, which the tests of the samples build meanwhile.
  const manifest = { name: 'nestjs-redis-streams', type: 'module', exports: './build/lib/index.js' };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  ['lib', 'bench', 'test/support'].forEach(compile);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Has the TypeScript of a folder of the repository in the package's `build`. */
function compile(sources: string): void {
  for (const name of readdirSync(sources, { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.ts') && !name.includes('node_modules')) {
      const { code } = transformFileSync(join(sources, name), {
        jsc: {
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true },
          target: 'es2022',
        },
        module: { type: 'es6' },
      });
      const target = join(folder, 'build', sources, name.replace(/\.ts$/, '.js'));
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, code);
    }
  }
}

interface Outcome {
  code: unknown;
  stdout: string;
  stderr: string;
  /** Whether a process that it started was still there when it had ended. */
  leftProcesses: boolean;
}

/** @param interruptAt what it says when it is to be interrupted, as a terminal does it: all its processes at once */
async function bench(options: readonly string[], interruptAt?: string): Promise<Outcome> {
  const child = spawn(process.execPath, [join(folder, 'build/bench/main.js'), ...options], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, TMPDIR: folder },
  });
  const group = -child.pid!;
  const output = { stdout: '', stderr: '' };
  let isInterrupted = false;
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString();
    if (!isInterrupted && interruptAt !== undefined && output.stderr.includes(interruptAt)) {
      isInterrupted = true;
      process.kill(group, 'SIGINT');
    }
  });
  const [code] = (await once(child, 'close')) as [unknown];
  return { code, ...output, leftProcesses: hasProcesses(group) };
}

function hasProcesses(group: number): boolean {
  try {
    process.kill(group, 0);
    return true;
  } catch {
    return false;
  }
}

describe('the benchmark', () => {
  test(
    'measures requests, prints them as a table and writes them as JSON',
    async () => {
      const file = join(folder, 'results.json');
      const options = ['--only', 'requests', '--systems', 'redis-streams', '--quick', '--rounds', '1'];

      const { code, stdout, stderr, leftProcesses } = await bench([
        ...options,
        '--seconds',
        '0.3',
        '--json',
        file,
      ]);

      expect({ code, leftProcesses }).toEqual({ code: 0, leftProcesses: false });
      expect(stderr).toContain('round 1 of 1');
      expect(stdout).toContain('| redis-streams, 128 in flight |');
      const report = JSON.parse(readFileSync(file, 'utf8')) as Report;
      expect(report.machine.node).toBe(process.version);
      const [measure] = report.measures;
      expect(measure).toMatchObject({ name: 'requests', missing: [] });
      expect(measure!.rows.map(({ setting }) => setting)).toEqual([
        '1 in flight',
        '16 in flight',
        '128 in flight',
      ]);
      for (const { system, figures } of measure!.rows) {
        expect(system).toBe('redis-streams');
        for (const name of [
          'rate',
          'p50',
          'p95',
          'p99',
          'cpu',
          'cpuClient',
          'cpuServer',
          'cpuBroker',
          'commands',
        ]) {
          expect(figures[name]?.samples).toHaveLength(1);
          expect(figures[name]!.median).toBeGreaterThan(0);
        }
      }
    },
    RUN_WITHIN_MS,
  );

  test('says what is wrong with an option, and ends with 1', async () => {
    const { code, stderr } = await bench(['--systems', 'carrier-pigeons']);

    expect(code).toBe(1);
    expect(stderr).toContain("--systems knows no 'carrier-pigeons', but redis-streams, nest-redis");
  });

  test(
    'leaves nothing behind when it is interrupted',
    async () => {
      const options = [
        '--only',
        'requests',
        '--systems',
        'redis-streams,nest-redis',
        '--quick',
        '--rounds',
        '9',
      ];

      const { code, leftProcesses } = await bench(options, 'round 1 of 9');

      expect({ code, leftProcesses }).toEqual({ code: 130, leftProcesses: false });
      expect(readdirSync(folder).filter((name) => name.startsWith('redis-streams-'))).toEqual([]);
    },
    INTERRUPTED_WITHIN_MS,
  );
});
