import type { Disturbance, Violation } from './checks.js';
import type { EventLife, Ledger, Life } from './ledger.js';
import { ASKED, SERVICES } from './load.js';
import { table } from './table.js';

/** Ids that are named of a rule that was broken; the rest are counted. */
const NAMED = 10;

/** What a run has come to. */
export interface Account {
  scenario: string;
  seed: number;
  seconds: number;
  ledger: Ledger;
  disturbances: readonly Disturbance[];
  /** Milliseconds from the last fault until everything was settled; missing where it was not in time. */
  settledAfter?: number;
  /** The Redis commands that arrived in so many milliseconds once nothing was left to do, by name. */
  idle: { ms: number; calls: ReadonlyMap<string, number> };
  violations: readonly Violation[];
  /** What the books say of the first messages that each violation names. */
  trails: readonly string[];
}

/** The account as text: what happened, what became of it, and which promises were broken. */
export function describeAccount(account: Account): string {
  const { scenario, seed, seconds, ledger, settledAfter, violations } = account;
  const events = [...ledger.events.values()];
  const requests = [...ledger.requests.values()];
  return [
    `${scenario}, seed ${seed}, ${Math.round(seconds)} s`,
    `faults: ${describeFaults(account.disturbances)}`,
    '',
    eventTable(events),
    '',
    serviceTable(events, requests),
    '',
    requestTable(requests),
    '',
    `errors: ${describeErrors([...events, ...requests])}`,
    settledAfter === undefined
      ? 'settled: not in time'
      : `settled: ${Math.round(settledAfter)} ms after the last fault`,
    `idle: in ${account.idle.ms} ms ${[...account.idle.calls].map(([name, n]) => `${n} x ${name}`).join(', ')}`,
    '',
    ...(violations.length === 0 ? ['Every promise was kept.'] : violations.map(describeViolation)),
    ...account.trails,
    '',
  ].join('\n');
}

function eventTable(events: EventLife[]): string {
  const count = (test: (event: EventLife) => boolean): number => events.filter(test).length;
  return table([
    ['events', 'published', 'confirmed', 'failed', 'unknown', 'stored'],
    [
      '',
      events.length,
      count(({ endedAt, failure }) => endedAt !== undefined && !failure),
      count(({ failure }) => failure !== undefined),
      count(({ endedAt }) => endedAt === undefined),
      count(({ stored }) => stored > 0),
    ],
  ]);
}

function serviceTable(events: EventLife[], requests: Life[]): string {
  const row = (name: string, lives: Life[], service: string, dead: number): (string | number)[] => [
    name,
    lives.filter(({ handled }) => handled.has(service)).length,
    lives.filter(({ handled }) => (handled.get(service) ?? 0) > 1).length,
    dead,
  ];
  return table([
    ['handled by', 'handled', 'more than once', 'dead letters'],
    ...SERVICES.map((service) =>
      row(`${service}, events`, events, service, events.filter(({ dead }) => dead.has(service)).length),
    ),
    row(`${ASKED}, requests`, requests, ASKED, 0),
  ]);
}

function requestTable(requests: Life[]): string {
  const times = requests
    .filter(({ endedAt, failure }) => endedAt !== undefined && !failure)
    .map(({ sentAt, endedAt }) => endedAt! - sentAt)
    .sort((a, b) => a - b);
  const at = (share: number): string => `${times[Math.floor(times.length * share)] ?? '-'} ms`;
  return table([
    ['requests', 'sent', 'answered', 'failed', 'unknown', 'median', '99 %', 'slowest'],
    [
      '',
      requests.length,
      times.length,
      requests.filter(({ failure }) => failure).length,
      requests.filter(({ endedAt }) => endedAt === undefined).length,
      at(0.5),
      at(0.99),
      `${times.at(-1) ?? '-'} ms`,
    ],
  ]);
}

function describeFaults(disturbances: readonly Disturbance[]): string {
  return describeCounts(disturbances.map(({ fault }) => fault));
}

function describeErrors(lives: Life[]): string {
  return describeCounts(lives.flatMap(({ failure }) => failure?.code ?? []));
}

function describeCounts(names: string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) {
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => `${count} x ${name}`).join(', ') || 'none';
}

function describeViolation({ rule, cases }: Violation): string {
  const more = cases.length > NAMED ? [`... and ${cases.length - NAMED} more`] : [];
  return [`BROKEN (${cases.length}): ${rule}`, ...cases.slice(0, NAMED), ...more].join('\n    ');
}
