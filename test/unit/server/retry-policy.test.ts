import { describe, expect, test } from '@jest/globals';
import type { Backoff } from '../../../lib/options.js';
import { backoffDelay } from '../../../lib/server/retry-policy.js';
import { MAX_TIMER_MS } from '../../../lib/util/time.js';

const ID = '1700000000000-0';

/** Ids as Redis gives them to what is written at about the same time. */
function ids(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${1_700_000_000_000 + Math.floor(i / 4)}-${i % 4}`);
}

test('a fixed backoff is always the same', () => {
  const backoff: Backoff = { type: 'fixed', delay: 250 };
  expect([1, 2, 3, 50].map((deliveries) => backoffDelay(backoff, deliveries, ID))).toEqual([
    250, 250, 250, 250,
  ]);
});

describe('an exponential backoff', () => {
  const backoff: Backoff = { type: 'exponential', base: 1_000, max: 60_000 };

  test.each([
    [1, 1_000],
    [2, 2_000],
    [3, 4_000],
    [6, 32_000],
    [7, 60_000],
    [8, 60_000],
    [40, 60_000],
    [1_000_000, 60_000],
  ])('after delivery %i lies between three quarters of %i and all of it', (deliveries, full) => {
    for (const id of ids(500)) {
      const delay = backoffDelay(backoff, deliveries, id);
      expect(delay).toBeGreaterThanOrEqual(full * 0.75);
      expect(delay).toBeLessThanOrEqual(full);
      expect(Number.isInteger(delay)).toBe(true);
    }
  });

  test('is the same for the same entry, whoever computes it', () => {
    for (const id of ids(50)) {
      expect(backoffDelay({ ...backoff }, 3, id)).toBe(backoffDelay(backoff, 3, id));
    }
    // Computed once: another version of this package has to come to the same.
    expect([1, 2, 3, 9].map((deliveries) => backoffDelay(backoff, deliveries, ID))).toEqual([
      984, 1_970, 3_944, 59_505,
    ]);
  });

  test('spreads what failed together over its quarter', () => {
    const delays = ids(1_000).map((id) => backoffDelay(backoff, 1, id));
    const tenths = new Set(delays.map((delay) => Math.floor((delay - 750) / 25)));
    expect(tenths.size).toBeGreaterThanOrEqual(10);
    expect(new Set(delays).size).toBeGreaterThan(150);
  });

  test('one entry comes at another point of the quarter each time', () => {
    const flat: Backoff = { type: 'exponential', base: 60_000, max: 60_000 };
    expect(new Set([1, 2, 3, 4].map((deliveries) => backoffDelay(flat, deliveries, ID))).size).toBe(4);
  });

  test('a maximum below the base is the maximum', () => {
    expect(backoffDelay({ type: 'exponential', base: 1_000, max: 10 }, 1, ID)).toBeLessThanOrEqual(10);
  });
});

describe('a function', () => {
  test('is given the deliveries so far, and its result is made whole', () => {
    const asked: number[] = [];
    const backoff: Backoff = (deliveries) => {
      asked.push(deliveries);
      return deliveries * 10.4;
    };
    expect([1, 2, 3].map((deliveries) => backoffDelay(backoff, deliveries, ID))).toEqual([10, 21, 31]);
    expect(asked).toEqual([1, 2, 3]);
  });

  test.each([0, MAX_TIMER_MS])('may say %i', (delay) => {
    expect(backoffDelay(() => delay, 1, ID)).toBe(delay);
  });

  test.each([-1, Number.NaN, Infinity, MAX_TIMER_MS + 1, undefined, Promise.resolve(5), 'soon'])(
    'that returns %p is told so',
    (result) => {
      expect(() => backoffDelay((() => result) as unknown as Backoff, 1, ID)).toThrow(RangeError);
      expect(() => backoffDelay((() => result) as unknown as Backoff, 1, ID)).toThrow(
        `Option 'retry': the backoff function returned ${String(result)}, and 0 to ${MAX_TIMER_MS} ms are possible.`,
      );
    },
  );

  test('that throws is not covered up', () => {
    const backoff: Backoff = () => {
      throw new Error('no idea');
    };
    expect(() => backoffDelay(backoff, 1, ID)).toThrow('no idea');
  });
});
