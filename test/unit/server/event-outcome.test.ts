import { describe, expect, test } from '@jest/globals';
import type { RetryOptions } from '../../../lib/options.js';
import type { EventRetry } from '../../../lib/server/delivery.js';
import { eventOutcome, type FailedHandler } from '../../../lib/server/event-outcome.js';
import { DeadLetter, RetryLater } from '../../../lib/server/outcomes.js';

const ID = '1700000000000-0';

const fixed = (maxDeliveries: number, delay = 10): Required<RetryOptions> => ({
  maxDeliveries,
  backoff: { type: 'fixed', delay },
});

function failed(handler: number, error: unknown = new Error(`handler ${handler}`)): FailedHandler {
  return { handler, error };
}

/** What becomes of an event at this delivery, by the policies of its handlers. */
function outcome(
  deliveries: number,
  failures: FailedHandler[],
  policies: Required<RetryOptions>[],
  retry?: EventRetry,
) {
  return eventOutcome({ id: ID, deliveries, retry }, failures, (handler) => policies[handler]!);
}

test('without failures it has succeeded', () => {
  expect(outcome(1, [], [fixed(5)])).toEqual({ kind: 'succeeded' });
});

test('one that failed is delivered again, after its backoff', () => {
  const failure = failed(0);
  expect(outcome(1, [failure], [fixed(5, 70)])).toEqual({
    kind: 'retry',
    delay: 70,
    error: failure.error,
    retry: { handlers: [0], exhausted: undefined },
  });
});

test('the backoff is that of the delivery and the entry', () => {
  const asked: number[] = [];
  const policy = { maxDeliveries: 9, backoff: (deliveries: number) => asked.push(deliveries) };
  outcome(4, [failed(0)], [policy]);
  expect(asked).toEqual([4]);
});

test('after its last delivery it is a dead letter, with what it failed with', () => {
  const failure = failed(0);
  expect(outcome(5, [failure], [fixed(5)])).toEqual({ kind: 'dead', reason: 'failed', error: failure.error });
  expect(outcome(6, [failure], [fixed(5)])).toMatchObject({ kind: 'dead' });
  expect(outcome(1, [failure], [fixed(1)])).toMatchObject({ kind: 'dead' });
});

describe('several handlers', () => {
  test('only those that failed run again, and none earlier than it may', () => {
    const failures = [failed(2), failed(0)];
    expect(outcome(1, failures, [fixed(5, 10), fixed(5, 99), fixed(5, 40)])).toEqual({
      kind: 'retry',
      delay: 40,
      error: failures[0]!.error,
      retry: { handlers: [2, 0], exhausted: undefined },
    });
  });

  test('one that has used up its deliveries is left out, and remembered', () => {
    const [first, second] = [failed(0), failed(1)];
    expect(outcome(2, [first, second], [fixed(2), fixed(4)])).toEqual({
      kind: 'retry',
      delay: 10,
      error: second.error,
      retry: { handlers: [1], exhausted: first },
    });
  });

  test('the event is a dead letter because of the one that was left out, though the other has succeeded', () => {
    const exhausted = failed(0);
    const retry = { handlers: [1], exhausted };
    expect(outcome(3, [], [fixed(2), fixed(4)], retry)).toEqual({
      kind: 'dead',
      reason: 'failed',
      error: exhausted.error,
    });
  });

  test('the first that was left out is the one that is named', () => {
    const exhausted = failed(0);
    const retry = { handlers: [1], exhausted };
    expect(outcome(4, [failed(1)], [fixed(2), fixed(4)], retry)).toMatchObject({ error: exhausted.error });
    expect(outcome(3, [failed(1)], [fixed(2), fixed(4)], retry)).toMatchObject({
      kind: 'retry',
      retry: { handlers: [1], exhausted },
    });
  });

  test('a handler that rejects the event does so for all', () => {
    const rejection = new DeadLetter('no such product');
    const failures = [failed(0), failed(1, rejection)];
    expect(outcome(1, failures, [fixed(5), fixed(5)])).toEqual({
      kind: 'dead',
      reason: 'rejected',
      error: rejection,
    });
  });
});

describe('RetryLater', () => {
  test('counts instead of the backoff, be it shorter or longer', () => {
    const policy = { maxDeliveries: 5, backoff: () => Number.NaN };
    expect(outcome(1, [failed(0, new RetryLater(3))], [policy])).toMatchObject({ kind: 'retry', delay: 3 });
    expect(outcome(1, [failed(0, new RetryLater(0))], [policy])).toMatchObject({ kind: 'retry', delay: 0 });
    expect(outcome(1, [failed(0, new RetryLater(86_400_000))], [fixed(5)])).toMatchObject({
      delay: 86_400_000,
    });
  });

  test('is a delivery like any other', () => {
    expect(outcome(5, [failed(0, new RetryLater(3))], [fixed(5)])).toMatchObject({
      kind: 'dead',
      reason: 'failed',
    });
  });

  test('beside another failure: the longer of the two', () => {
    const failures = [failed(0, new RetryLater(3)), failed(1)];
    expect(outcome(1, failures, [fixed(5), fixed(5, 30)])).toMatchObject({ kind: 'retry', delay: 30 });
  });
});
