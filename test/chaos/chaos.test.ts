import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { CompiledScripts } from '../support/child-process.js';
import { IS_CLUSTER } from '../support/redis-server.js';
import { describeAccount } from './account.js';
import { run } from './run.js';
import { SCENARIOS, type ScenarioName } from './scenarios.js';

/*
 * The short form of `npm run chaos`: seeds that are fixed, so that it is the same faults each time, though not the
 * same instants. Those that need longer than a test may take run in the long form only.
 */

let scripts: CompiledScripts;
beforeAll(async () => {
  scripts = await CompiledScripts.make('test/chaos');
});
afterAll(() => scripts.remove());

const SHORT: [name: ScenarioName, seed: number, seconds: number][] = [
  ['processes-killed', 1, 10],
  ['redis-killed', 2, 10],
  ['standing-still', 3, 10],
  ['connections', 4, 12],
  ['redis-refuses', 5, 10],
  ['groups-vanish', 6, 6],
  ['streams-vanish', 7, 8],
  ['poison', 10, 5],
  ['rolling', 8, 8],
  ['rolling-without-unblock', 9, 10],
];

/** A node of a cluster is no replica because it is told so by REPLICAOF. */
const NOT_ON_CLUSTERS: ScenarioName[] = ['redis-refuses'];
const short = SHORT.filter(([name]) => !IS_CLUSTER || !NOT_ON_CLUSTERS.includes(name));

test.each(short.map((row) => [SCENARIOS[row[0]].proves, ...row] as const))(
  '%s (%s, seed %d)',
  async (_, scenario, seed, seconds) => {
    const account = await run({ scenario, seed, seconds, scripts });
    const text = describeAccount(account);
    process.stdout.write(`\n${text}`);
    expect(account.violations).toEqual([]);
  },
);
