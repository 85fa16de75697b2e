import 'reflect-metadata';
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { loadSystem } from '../systems/load.js';
import { Work } from '../systems/work.js';
import { childSetup, serveOrders, sharedNow } from './child-side.js';
import type { PublishResult, RequestOrder, RequestResult } from './protocol.js';

/* The process that asks. Every answer is checked; a wrong one fails the measurement. */

const NS_PER_MS = 1e6;
const B = 7;

const setup = childSetup();
/** For the system whose server is in the same process. */
const work = new Work();
const { createClient } = await loadSystem(setup.system);
const client = createClient({ ...setup, service: setup.services[0]! }, work);
await client.connect();

/** One question of the order's kind, checked. */
function asker({ payload, values }: RequestOrder): (n: number) => Promise<void> {
  if (payload !== undefined) {
    const text = 'x'.repeat(payload);
    return async () => check((await client.echo(text)) === text, 'The echo is not what was sent');
  }
  if (values !== undefined) {
    const sum = (values * (values - 1)) / 2;
    return async () => {
      const got = await client.stream(values);
      check(got === sum, `The values add up to ${got} instead of ${sum}`);
    };
  }
  return async (n) => {
    const sum = await client.request(n, B);
    check(sum === n + B, `Wrong answer: ${sum} instead of ${n + B}`);
  };
}

function check(isRight: boolean, complaint: string): void {
  if (!isRight) {
    throw new Error(complaint);
  }
}

async function runRequests(order: RequestOrder): Promise<RequestResult> {
  const latencies: RecordableHistogram = createHistogram();
  const ask = asker(order);
  const start = performance.now();
  const until = order.seconds === undefined ? Infinity : start + order.seconds * 1000;
  const enough = order.count ?? Infinity;
  let requests = 0;
  const caller = async (): Promise<void> => {
    for (let sent = performance.now(); sent < until && requests < enough;) {
      await ask(requests++);
      const now = performance.now();
      latencies.record(Math.max(1, Math.round((now - sent) * NS_PER_MS)));
      sent = now;
    }
  };
  await Promise.all(Array.from({ length: order.inFlight }, caller));
  const at = (percentile: number): number => latencies.percentile(percentile) / NS_PER_MS;
  return { requests, elapsed: performance.now() - start, p50: at(50), p95: at(95), p99: at(99) };
}

/** Publishes 0 to `count` - 1, and waits for every one of them to be taken. */
async function publish({ count, inFlight }: { count: number; inFlight: number }): Promise<PublishResult> {
  const from = sharedNow();
  let next = 0;
  const publisher = async (): Promise<void> => {
    while (next < count) {
      await client.emit(next++);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, publisher));
  return { from, to: sharedNow() };
}

serveOrders({ requests: runRequests, publish, handled: ({ count }) => work.whenHandled(count) }, () =>
  client.close(),
);
