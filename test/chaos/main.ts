import { parseArgs } from 'node:util';
import { Logger } from '@nestjs/common';
import { CompiledScripts } from '../support/child-process.js';
import { describeAccount } from './account.js';
import { measureFailovers } from './failover/report.js';
import { run } from './run.js';
import { SCENARIOS, type ScenarioName } from './scenarios.js';

/*
 * `npm run chaos -- --minutes 10 --seed 42 --scenario servers-killed`: runs the scenario that is named, or each of
 * them for its share of the time, and prints their accounts. Exits with 1 where a promise was broken.
 *
 * `npm run chaos -- --failovers 10`: kills the masters of a cluster instead, so often in each of several ways, and
 * prints what is lost: nothing is promised about that.
 */

const DEFAULT_MINUTES = '10';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: DEFAULT_MINUTES },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000)) },
    scenario: { type: 'string' },
    keep: { type: 'boolean' },
    failovers: { type: 'string' },
  },
});
const seed = Number(values.seed);
const minutes = Number(values.minutes);
const names = Object.keys(SCENARIOS) as ScenarioName[];
const chosen = values.scenario === undefined ? names : names.filter((name) => name === values.scenario);
const failovers = values.failovers === undefined ? undefined : Number(values.failovers);
if (
  !Number.isInteger(seed) ||
  !(minutes > 0) ||
  chosen.length === 0 ||
  (failovers !== undefined && !(Number.isInteger(failovers) && failovers > 0))
) {
  say(
    `usage: npm run chaos -- [--minutes N] [--seed N] [--scenario ${names.join('|')}] [--keep], or npm run chaos -- --failovers N`,
  );
  process.exit(2);
}
if (failovers !== undefined) {
  Logger.overrideLogger(false);
  say(`\n${await measureFailovers(failovers, say)}`);
  process.exit(0);
}

say(`seed ${seed}`);
const broken: string[] = [];
const scripts = await CompiledScripts.make('test/chaos');
try {
  for (const scenario of chosen) {
    say(`\n=== ${scenario}: ${SCENARIOS[scenario].proves}`);
    const seconds = Math.max((minutes * 60) / chosen.length, SCENARIOS[scenario].seconds);
    const account = await run({ scenario, seed, seconds, scripts, say, keep: values.keep });
    say(`\n${describeAccount(account)}`);
    if (account.violations.length > 0) {
      broken.push(scenario);
    }
  }
} finally {
  scripts.remove();
}
if (broken.length > 0) {
  say(
    `Promises were broken in: ${broken.join(', ')}. Again: npm run chaos -- --seed ${seed} --scenario ${broken[0]}`,
  );
  process.exitCode = 1;
}
