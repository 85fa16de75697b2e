import { setTimeout as pause } from 'node:timers/promises';
import { BLOCK_GRACE_MS, BLOCK_MS } from '../../lib/redis/blocking-reader.js';
import type { CompiledScripts } from '../support/child-process.js';
import type { Account } from './account.js';
import { check, type Disturbance, type Violation } from './checks.js';
import { FAULTS, type FaultKind } from './faults.js';
import { Ledger } from './ledger.js';
import { SERVICES } from './load.js';
import { trails } from './records.js';
import { planLane, type Step } from './plan.js';
import { castOf, SCENARIOS, type Scenario, type ScenarioName } from './scenarios.js';
import { Stage } from './stage.js';

/** Load before the first fault and after the last, in milliseconds. */
const WARM_UP_MS = 500;

const LOOK_EVERY_MS = 50;
const IDLE_FOR_MS = 2_000;

/**
 * What an idle instance may have Redis do in a lease, what its scripts do and what it does for those that died in the
 * last seconds included. One that spins does thousands.
 */
const IDLE_COMMANDS = 150;

/** Messages of each violation whose trails are shown. */
const TRAILS = 3;

/** What is to be run. */
export interface Order {
  scenario: ScenarioName;
  seed: number;
  seconds: number;
  scripts: CompiledScripts;
  /** Leaves the books and the logs of the processes where they are, and says where. */
  keep?: boolean;
  /** Is told of each fault. */
  say?: (line: string) => void;
}

/** Runs a scenario: load, faults, calm, account. */
export async function run({ scenario: name, seed, seconds, scripts, keep, say }: Order): Promise<Account> {
  const scenario: Scenario = SCENARIOS[name];
  const cast = castOf(scenario);
  const begin = performance.now();
  const stage = await Stage.open(cast, seed, scripts);
  try {
    const disturbances = await disturb(stage, scenario, seed, seconds * 1_000, say);
    const lastFault = performance.now();
    const clientsEnd = Promise.all(stage.clients.map((client) => client.end()));
    const unsettled = await settle(stage, 3 * cast.lease + forReplyStreams(disturbances));
    const settledAfter = unsettled.length === 0 ? performance.now() - lastFault : undefined;
    await clientsEnd;
    const idle = { ms: IDLE_FOR_MS, calls: await idleCalls(stage) };
    await Promise.all(stage.servers.map((server) => server.end()));
    const ledger = await takeStock(stage);
    const killed = new Set(stage.members.flatMap((member) => [...member.killed]));
    const { lease, timeout } = cast;
    const violations: Violation[] = [
      ...check(ledger, { disturbances, killed, timeout, lease, strict: scenario.strict ?? false }),
      { rule: 'three leases after the last fault nothing is pending', cases: unsettled },
      { rule: 'no process dies, hangs or complains that was not made to', cases: stage.troubles },
      { rule: 'what is idle does next to nothing', cases: tooBusy(stage, idle, lease) },
    ].filter(({ cases }) => cases.length > 0);
    return {
      scenario: name,
      seed,
      seconds: (performance.now() - begin) / 1_000,
      ledger,
      disturbances,
      settledAfter,
      idle,
      violations,
      trails: trails(stage.books, violations.flatMap(firstMessages)),
    };
  } finally {
    if (keep) {
      say?.(`The books and logs are in ${stage.keep()}`);
    }
    await stage.close();
  }
}

function firstMessages({ cases }: Violation): string[] {
  return cases.slice(0, TRAILS).map((text) => /^\S+/.exec(text)![0]);
}

/** Runs the lanes beside each other for as long as it is said, and each fault to its end. */
async function disturb(
  stage: Stage,
  { lanes, cast }: Scenario,
  seed: number,
  durationMs: number,
  say?: (line: string) => void,
): Promise<Disturbance[]> {
  const { lease } = castOf({ cast } as Scenario);
  const disturbances: Disturbance[] = [];
  const begin = performance.now();
  await pause(WARM_UP_MS);
  await Promise.all(
    lanes.map(async (lane, i) => {
      for (const step of planLane(lane, seed + i, lease, durationMs)) {
        await pause(step.pause);
        if (performance.now() - begin > durationMs) {
          return;
        }
        const disturbance = await inflict(stage, step);
        disturbances.push(disturbance);
        say?.(describe(disturbance, performance.now() - begin));
      }
    }),
  );
  await pause(WARM_UP_MS);
  return disturbances;
}

async function inflict(stage: Stage, { fault, target, lasts }: Step): Promise<Disturbance> {
  const kind: FaultKind = FAULTS[fault];
  const candidates = stage.members.filter((member) => member.kind === kind.on);
  const member = candidates[target % candidates.length]!;
  const from = Date.now();
  await kind.run({ stage, member, target, lasts });
  return {
    fault,
    member: kind.on && member.name,
    from,
    to: Date.now(),
    outage: kind.outage,
    wipes: kind.wipes ?? false,
  };
}

function describe({ fault, member, from, to }: Disturbance, at: number): string {
  return `${((at - (to - from)) / 1_000).toFixed(1)} s  ${fault}${member ? ` ${member}` : ''} (${to - from} ms)`;
}

/** How much longer answers may wait after a wipe: they need a stream that its client has to miss first. */
function forReplyStreams(disturbances: readonly Disturbance[]): number {
  const wait = BLOCK_MS + BLOCK_GRACE_MS;
  return disturbances.some(({ wipes, to }) => wipes && to > Date.now() - wait) ? wait : 0;
}

/** Waits until nothing is left to do; resolves with what is left after `withinMs`. */
async function settle(stage: Stage, withinMs: number): Promise<string[]> {
  const latest = performance.now() + withinMs;
  for (;;) {
    const unsettled = await stage.unsettled();
    if (unsettled.length === 0 || performance.now() > latest) {
      return unsettled;
    }
    await pause(LOOK_EVERY_MS);
  }
}

/** The commands that arrive while nothing is to be done, by name. */
async function idleCalls(stage: Stage): Promise<Map<string, number>> {
  const before = await stage.commandCalls();
  await pause(IDLE_FOR_MS);
  const calls = [...(await stage.commandCalls())].map(
    ([name, count]) => [name, count - (before.get(name) ?? 0)] as const,
  );
  return new Map(calls.filter(([, count]) => count > 0));
}

function tooBusy({ servers }: Stage, idle: Account['idle'], lease: number): string[] {
  const count = [...idle.calls.values()].reduce((sum, n) => sum + n, 0);
  const allowed = (IDLE_COMMANDS * servers.length * idle.ms) / lease;
  return count > allowed ? [`${count} commands in ${idle.ms} ms, where ${allowed} are allowed`] : [];
}

async function takeStock(stage: Stage): Promise<Ledger> {
  const dead = await Promise.all(
    SERVICES.map(async (service) => [service, await stage.deadLetters(service)] as const),
  );
  return new Ledger(stage.books, { stored: stage.recorder.stored, dead: new Map(dead) });
}
