import { describe, expect, test } from '@jest/globals';
import { Backoff, pause, settledWithin } from '../../../lib/util/time.js';

/** Far longer than any test waits. */
const FOREVER = 600_000;

describe('pause', () => {
  test('lasts about as long as it says', async () => {
    const start = performance.now();
    await pause(30);
    expect(performance.now() - start).toBeGreaterThanOrEqual(29);
  });

  test('ends at once when its signal aborts', async () => {
    const cut = new AbortController();
    const pausing = pause(FOREVER, cut.signal);
    cut.abort();
    await pausing;
  });

  test('does not begin when its signal has aborted', async () => {
    await pause(FOREVER, AbortSignal.abort());
  });

  test('leaves neither a listener nor a timer behind', async () => {
    const listeners = new Set<unknown>();
    const cut = new AbortController();
    const { signal } = cut;
    const add = signal.addEventListener.bind(signal) as (...args: unknown[]) => void;
    const remove = signal.removeEventListener.bind(signal) as (...args: unknown[]) => void;
    signal.addEventListener = (type: string, listener: unknown) => {
      listeners.add(listener);
      add(type, listener);
    };
    signal.removeEventListener = (type: string, listener: unknown) => {
      listeners.delete(listener);
      remove(type, listener);
    };
    await pause(1, signal);
    expect(listeners.size).toBe(0);
    const before = timers();
    const pausing = pause(FOREVER, signal);
    expect([listeners.size, timers()]).toEqual([1, before + 1]);
    cut.abort();
    await pausing;
    expect([listeners.size, timers()]).toEqual([0, before]);
  });
});

describe('settledWithin', () => {
  test('true when the work ends in time, whether well or not', async () => {
    await expect(settledWithin(Promise.resolve(), FOREVER)).resolves.toBe(true);
    await expect(settledWithin(Promise.reject(new Error('no')), FOREVER)).resolves.toBe(true);
    await expect(settledWithin(pause(5), FOREVER)).resolves.toBe(true);
  });

  test('false when it does not', async () => {
    await expect(settledWithin(new Promise(() => undefined), 5)).resolves.toBe(false);
  });

  test("work that fails after the time is over is nobody's unhandled rejection", async () => {
    let fail!: (error: Error) => void;
    const work = new Promise((_, reject) => (fail = reject));
    const unhandled: unknown[] = [];
    const listener = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', listener);
    await expect(settledWithin(work, 5)).resolves.toBe(false);
    fail(new Error('late'));
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', listener);
    expect(unhandled).toEqual([]);
  });

  test('work that ends in time leaves no timer behind', async () => {
    const before = timers();
    await settledWithin(Promise.resolve(), FOREVER);
    expect(timers()).toBe(before);
  });
});

describe('Backoff', () => {
  test('doubles up to its limit, and starts over after a reset', () => {
    const backoff = new Backoff(50, 2000);
    const delays = Array.from({ length: 8 }, () => backoff.next());
    expect(delays).toEqual([50, 100, 200, 400, 800, 1600, 2000, 2000]);
    backoff.reset();
    expect(backoff.next()).toBe(50);
  });

  test('never leaves its limit, however long it goes on', () => {
    const backoff = new Backoff(1, 2 ** 31);
    const delays = Array.from({ length: 3000 }, () => backoff.next());
    expect(delays.every((delay) => Number.isFinite(delay) && delay <= 2 ** 31)).toBe(true);
    expect(Math.max(...delays)).toBe(delays.at(-1));
  });

  test('a base above the limit gives the limit', () => {
    expect(new Backoff(500, 100).next()).toBe(100);
  });
});

function timers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
}
