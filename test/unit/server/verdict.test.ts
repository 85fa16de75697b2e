import { describe, expect, test } from '@jest/globals';
import { ConfigurationError } from '../../../lib/errors.js';
import { DeadLetter, RetryLater } from '../../../lib/server/outcomes.js';
import { Verdict } from '../../../lib/server/verdict.js';

/** And how often it has called back. */
function listened(verdict: Verdict): () => number {
  let calls = 0;
  verdict.onGiven(() => calls++);
  return () => calls;
}

describe('where nobody has to acknowledge', () => {
  test('the end of the handler is all there is to wait for', () => {
    const verdict = new Verdict(false);
    expect(verdict.isGiven).toBe(true);
    expect(verdict.error).toBeUndefined();
    expect(verdict.wasAcknowledged).toBe(false);
  });

  test('ack() says which option it needs', () => {
    const verdict = new Verdict(false);
    expect(() => verdict.ack()).toThrow(ConfigurationError);
    expect(() => verdict.ack()).toThrow("acknowledge: 'manual'");
    expect(verdict.wasAcknowledged).toBe(false);
  });
});

describe('where the event waits for ack()', () => {
  test('it is given by ack(), which may be called again', () => {
    const verdict = new Verdict(true);
    const calls = listened(verdict);
    expect(verdict.isGiven).toBe(false);
    verdict.ack();
    verdict.ack();
    expect(verdict.isGiven).toBe(true);
    expect(verdict.wasAcknowledged).toBe(true);
    expect(calls()).toBeGreaterThanOrEqual(1);
  });

  test.each([
    ['retry', (verdict: Verdict) => verdict.retry(5)],
    ['deadLetter', (verdict: Verdict) => verdict.deadLetter('why')],
  ])('%s() gives it too, and ack() comes too late then', (_, say) => {
    const verdict = new Verdict(true);
    const calls = listened(verdict);
    say(verdict);
    expect(calls()).toBe(1);
    expect(verdict.isGiven).toBe(true);
    verdict.ack();
    expect(verdict.wasAcknowledged).toBe(false);
    expect(verdict.error).toBeDefined();
  });

  test.each([
    ['retry', (verdict: Verdict) => verdict.retry(5)],
    ['deadLetter', (verdict: Verdict) => verdict.deadLetter('why')],
  ])('%s() comes too late after ack()', (_, say) => {
    const verdict = new Verdict(true);
    verdict.ack();
    say(verdict);
    expect(verdict.wasAcknowledged).toBe(true);
    expect(verdict.error).toBeUndefined();
  });
});

describe.each([true, false])('what is said (manual: %p)', (isManual) => {
  test('retry() with a time is a RetryLater, without one an error like any other', () => {
    const later = new Verdict(isManual);
    later.retry(30);
    expect(later.error).toBeInstanceOf(RetryLater);
    expect(later.error).toMatchObject({ delay: 30 });
    const soon = new Verdict(isManual);
    soon.retry(undefined);
    expect(soon.error).toBeInstanceOf(Error);
    expect(soon.error).not.toBeInstanceOf(RetryLater);
  });

  test('deadLetter() is a DeadLetter with its reason', () => {
    const verdict = new Verdict(isManual);
    verdict.deadLetter('no such product');
    expect(verdict.error).toBeInstanceOf(DeadLetter);
    expect(verdict.error).toMatchObject({ reason: 'no such product' });
  });

  test('what is said first counts', () => {
    const verdict = new Verdict(isManual);
    verdict.retry(1);
    verdict.deadLetter('why');
    verdict.retry(2);
    expect(verdict.error).toMatchObject({ delay: 1 });
  });

  test('what is no time is refused where it is said', () => {
    const verdict = new Verdict(isManual);
    expect(() => verdict.retry(-1)).toThrow(ConfigurationError);
    expect(verdict.error).toBeUndefined();
  });
});
