import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Pair } from './pair.js';

/**
 * CPU time per request of this state of the code and of an earlier one, in one run: alternating rounds, and the ratio
 * with its 95 % confidence interval. `npm run bench:compare -- <git ref> [rounds] [seconds]`
 */

const [ref = 'HEAD', rounds = '20', seconds = '2'] = process.argv.slice(2);
const IN_FLIGHT = 128;
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Quantiles of Student's t distribution for 95 %, by degrees of freedom from 1. */
const T_95 = [
  12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.2, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.1,
  2.09,
];

const folder = mkdtempSync(join(tmpdir(), 'redis-streams-before-'));
let before: Pair | undefined;
let after: Pair | undefined;
try {
  before = await Pair.start('redis-streams', buildEarlier());
  after = await Pair.start('redis-streams', join(ROOT, 'build/bench'));
  for (const pair of [before, after]) {
    await pair.measure({ inFlight: IN_FLIGHT, seconds: 2 });
  }
  const order = { inFlight: IN_FLIGHT, seconds: Number(seconds) };
  const ratios: { cpu: number; rate: number }[] = [];
  for (let round = 0; round < Number(rounds); round++) {
    const first = round % 2 === 0 ? before : after;
    const one = await first.measure(order);
    const two = await (first === before ? after : before).measure(order);
    const [old, now] = first === before ? [one, two] : [two, one];
    ratios.push({ cpu: now.cpu / old.cpu, rate: now.perSecond / old.perSecond });
    console.log(
      `${round + 1}: ${old.cpu.toFixed(1)} µs before, ${now.cpu.toFixed(1)} µs now (${(now.cpu / old.cpu).toFixed(3)})`,
    );
  }
  console.log(`CPU per request, now / ${ref}: ${interval(ratios.map(({ cpu }) => cpu))}`);
  console.log(`Requests per second, now / ${ref}: ${interval(ratios.map(({ rate }) => rate))}`);
} finally {
  await before?.stop();
  await after?.stop();
  rmSync(folder, { recursive: true, force: true });
}

/** The earlier state with today's benchmark beside it, so that each finds its own package. */
function buildEarlier(): string {
  const archive = execFileSync('git', ['archive', ref], { cwd: ROOT, maxBuffer: 2 ** 28 });
  execFileSync('tar', ['-x', '-C', folder], { input: archive });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: folder, stdio: 'inherit' });
  cpSync(join(ROOT, 'build/bench'), join(folder, 'build/bench'), { recursive: true });
  cpSync(join(ROOT, 'build/test'), join(folder, 'build/test'), { recursive: true });
  return join(folder, 'build/bench');
}

/** The geometric mean of ratios, and between what it lies with 95 %. */
function interval(ratios: number[]): string {
  const logs = ratios.map(Math.log);
  const mean = logs.reduce((a, b) => a + b, 0) / logs.length;
  const variance = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (logs.length - 1);
  const margin = (T_95[logs.length - 2] ?? 1.98) * Math.sqrt(variance / logs.length);
  const [middle, low, high] = [mean, mean - margin, mean + margin].map((log) => Math.exp(log).toFixed(3));
  return `${middle} (${low} to ${high}, ${logs.length} rounds)`;
}
