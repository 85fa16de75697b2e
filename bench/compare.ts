import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FigureName } from './figures.js';
import { alternate } from './measures/alternate.js';
import { OURS, type Measure } from './measures/measure.js';
import { requestSampler } from './measures/samples.js';
import type { BenchOptions } from './options.js';
import { ROOT } from './paths.js';
import { measureToMarkdown } from './report/markdown.js';
import { reportOf, startReport } from './report/report.js';
import { writeJson } from './report/write.js';
import { Results, type Subject } from './results.js';
import type { Session } from './session.js';

const IN_FLIGHT = 128;
const FIGURES: readonly FigureName[] = ['cpu', 'cpuClient', 'cpuServer', 'cpuBroker', 'rate', 'p50'];

/** What requests cost with this state of the package and with an earlier one, in alternating rounds. */
export async function compare(session: Session, options: BenchOptions, ref: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'redis-streams-before-'));
  try {
    session.say(`Building ${ref}`);
    const measure = comparisonWith(ref, buildEarlier(ref, folder));
    const results = new Results();
    await measure.run(session, results);
    session.assertRunning();
    const report = startReport(options);
    report.measures.push(reportOf('compare', measure, results));
    report.measures.forEach((found) => console.log(measureToMarkdown(found)));
    writeJson(options.json, report);
    if (results.missing.length > 0) {
      process.exitCode = 1;
    }
  } finally {
    await session.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function comparisonWith(ref: string, folder: string): Measure {
  const subject = (setting: string): Subject => ({ system: OURS, setting });
  return {
    title: `This state of the package and ${ref}, ${IN_FLIGHT} requests in flight`,
    counted: 'request',
    isQuick: false,
    run(session, results) {
      const order = { inFlight: IN_FLIGHT, seconds: session.options.seconds };
      return alternate(session, results, [
        { system: OURS, samplers: [requestSampler('now', order)] },
        { system: OURS, plan: { folder }, samplers: [requestSampler(ref, order)] },
      ]);
    },
    comparisons: FIGURES.map((figure) => ({ figure, of: subject('now'), against: [subject(ref)] })),
  };
}

/**
 * The earlier state with today's benchmark beside it, so that each finds its own package.
 * @returns where the benchmark's compiled files are
 */
function buildEarlier(ref: string, folder: string): string {
  const archive = execFileSync('git', ['archive', ref], { cwd: ROOT, maxBuffer: 2 ** 28 });
  execFileSync('tar', ['-x', '-C', folder], { input: archive });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  // What npm prints is not part of the report.
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  for (const part of ['bench', 'test']) {
    cpSync(join(ROOT, 'build', part), join(folder, 'build', part), { recursive: true });
  }
  return join(folder, 'build/bench');
}
