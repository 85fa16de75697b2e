import type { Ledger } from './ledger.js';
import type { Takeover } from './takeover.js';

/** What came of a run, for people. */
export function summarize(ledger: Ledger, tookMs: number): string {
  const { requests, answers, errors, latencies, takeover } = ledger;
  const byInstance = new Map<string, number>();
  for (const { instance } of answers.values()) {
    byInstance.set(instance, (byInstance.get(instance) ?? 0) + 1);
  }
  const shares = [...byInstance].map(([instance, count]) => `${count} by ${instance}`).sort();
  const rate = Math.round(requests / (tookMs / 1_000));
  return [
    row('Requests', `${requests} sent, ${answers.size} answered rightly`),
    ...shares.map((share, index) => row(index === 0 ? 'Answers' : '', share)),
    ...(takeover ? [row('Killed', killed(takeover)), row('Takeover', takenOver(takeover))] : []),
    row(
      'Events',
      `${ledger.publishedEvents} published, ${ledger.handledEvents} handled, ${ledger.handledTwice} of them more than once`,
    ),
    row(
      'Latency',
      `p50 ${percentile(latencies, 0.5)} ms, p99 ${percentile(latencies, 0.99)} ms, longest ${percentile(latencies, 1)} ms (32 at a time, through HTTP, all on this machine)`,
    ),
    row('Errors', errors.length === 0 ? '0' : `${errors.length}, the first: ${errors[0]}`),
    row('Time', `${(tookMs / 1_000).toFixed(1)} s, ${rate} requests and ${rate} events a second`),
  ].join('\n');
}

function killed({ victim, entries, noticedAfterMs }: Takeover): string {
  return noticedAfterMs === undefined
    ? `${victim}, which no other instance has noticed`
    : `${victim}, with ${entries} under way; noticed after ${seconds(noticedAfterMs)}`;
}

function takenOver({ done, doneAfterMs }: Takeover): string {
  return done === 0
    ? 'nothing was done by the other instance'
    : `${done} done by the other instance, the last ${seconds(doneAfterMs)} after the kill`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}

function row(name: string, value: string): string {
  return `  ${name.padEnd(10)}${value}`;
}

function percentile(values: readonly number[], share: number): string {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * share) - 1]?.toFixed(1) ?? '-';
}
