import type { Ledger } from './ledger.js';

/** What came of a run, for people. */
export function summarize(ledger: Ledger, tookMs: number): string {
  const { requests, answers, errors, latencies } = ledger;
  const byInstance = new Map<string, number>();
  for (const { instance } of answers.values()) {
    byInstance.set(instance, (byInstance.get(instance) ?? 0) + 1);
  }
  const shares = [...byInstance].map(([instance, count]) => `${count} by ${instance}`).sort();
  const rate = Math.round(requests / (tookMs / 1_000));
  return [
    row('Requests', `${requests} sent, ${answers.size} answered rightly`),
    ...shares.map((share, index) => row(index === 0 ? 'Answers' : '', share)),
    row(
      'Events',
      `${ledger.publishedEvents} published, ${ledger.handledEvents} handled, ${ledger.handledTwice} of them more than once`,
    ),
    row(
      'Latency',
      `p50 ${percentile(latencies, 0.5)} ms, p99 ${percentile(latencies, 0.99)} ms (32 at a time, through HTTP, all on this machine)`,
    ),
    row('Errors', errors.length === 0 ? '0' : `${errors.length}, the first: ${errors[0]}`),
    row('Time', `${(tookMs / 1_000).toFixed(1)} s, ${rate} requests and ${rate} events a second`),
  ].join('\n');
}

function row(name: string, value: string): string {
  return `  ${name.padEnd(10)}${value}`;
}

function percentile(values: readonly number[], share: number): string {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * share) - 1]?.toFixed(1) ?? '-';
}
