import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from '@jest/globals';
import { DeadlineExceededError } from '../../../lib/errors.js';
import { RedisClock } from '../../../lib/redis/clock.js';
import { Lifetime } from '../../../lib/server/lifetime.js';
import { deferred } from '../../support/wait.js';

const closing = new Error('the instance is closing');
const clock = new RedisClock();
const open: Lifetime[] = [];

/** Of a request that has this long to its deadline. */
function lifetime(remaining?: number): Lifetime {
  const created = new Lifetime(
    {
      entry: {
        pattern: 'sum',
        data: Buffer.alloc(0),
        id: 'i',
        reply: 'c',
        ttl: remaining,
        headers: undefined,
        codec: 'json',
        packet: false,
      },
      deadline: remaining === undefined ? undefined : clock.now() + remaining,
    },
    clock,
  );
  open.push(created);
  return created;
}

/** So that no timer outlives a test. */
afterEach(() => {
  for (const each of open.splice(0)) {
    each.end();
  }
});

function timers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
}

test('nothing is timed until somebody wants to know', () => {
  const before = timers();
  lifetime(60_000);
  expect(timers()).toBe(before);
});

test('the signal aborts at the deadline, with its reason', async () => {
  const { signal } = lifetime(5);
  expect(signal.aborted).toBe(false);
  await once(signal, 'abort');
  expect(signal.reason).toEqual(new DeadlineExceededError('sum'));
});

test('a deadline that has passed aborts soon, not within the call', async () => {
  const { signal } = lifetime(-1000);
  expect(signal.aborted).toBe(false);
  await once(signal, 'abort');
  expect(signal.reason).toEqual(new DeadlineExceededError('sum'));
});

test('without a deadline only abort() aborts', () => {
  const life = lifetime();
  const { signal } = life;
  life.abort(closing);
  expect(signal.reason).toBe(closing);
});

test('a deadline past what a timer of Node holds does not abort at once', async () => {
  const { signal } = lifetime(2 ** 31);
  await sleep(20);
  expect(signal.aborted).toBe(false);
});

test('the signal is always the same one', () => {
  const life = lifetime();
  expect(life.signal).toBe(life.signal);
});

test('a signal asked for after an abort is aborted, with the reason', () => {
  const life = lifetime();
  life.abort(closing);
  expect(life.signal.reason).toBe(closing);
});

test('the first reason stays', () => {
  const life = lifetime();
  life.abort(closing);
  life.abort(new Error('another'));
  expect(life.signal.reason).toBe(closing);
});

test('listeners are told once each', () => {
  const life = lifetime();
  const told: string[] = [];
  life.whenAborted(() => told.push('first'));
  life.whenAborted(() => told.push('second'));
  life.abort(closing);
  life.abort(new Error('another'));
  expect(told).toEqual(['first', 'second']);
});

test('a listener that comes after the abort is told at once', () => {
  const life = lifetime();
  life.abort(closing);
  let isTold = false;
  life.whenAborted(() => (isTold = true));
  expect(isTold).toBe(true);
});

test('listeners are told at the deadline though nobody has asked for the signal', async () => {
  const life = lifetime(5);
  const told = deferred();
  life.whenAborted(() => told.resolve());
  await told.promise;
  expect(life.signal.reason).toEqual(new DeadlineExceededError('sum'));
});

test('one timer serves the signal and all listeners, and ends with them', () => {
  const before = timers();
  const life = lifetime(60_000);
  life.whenAborted(() => undefined);
  life.whenAborted(() => undefined);
  void life.signal;
  expect(timers()).toBe(before + 1);
  life.end();
  expect(timers()).toBe(before);
});

test('an abort ends the timer', () => {
  const before = timers();
  const life = lifetime(60_000);
  void life.signal;
  life.abort(closing);
  expect(timers()).toBe(before);
});

test('after the end nothing aborts any more', async () => {
  const life = lifetime(5);
  const { signal } = life;
  let isTold = false;
  life.whenAborted(() => (isTold = true));
  life.end();
  life.abort(closing);
  await sleep(20);
  expect([signal.aborted, isTold]).toEqual([false, false]);
});

test('a signal first asked for after the end never aborts, and starts no timer', async () => {
  const life = lifetime(5);
  life.end();
  const before = timers();
  const { signal } = life;
  expect(timers()).toBe(before);
  await sleep(20);
  expect(signal.aborted).toBe(false);
});
