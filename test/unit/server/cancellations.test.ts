import { expect, test } from '@jest/globals';
import { Cancellations } from '../../../lib/server/cancellations.js';

test('knows what it was told of, as often as it is asked', () => {
  const cancellations = new Cancellations();
  expect(cancellations.has('a')).toBe(false);
  cancellations.add('a');
  cancellations.add('a');
  expect(cancellations.has('a')).toBe(true);
  expect(cancellations.has('a')).toBe(true);
  expect(cancellations.has('b')).toBe(false);
});

test('keeps the last 10,000', () => {
  const cancellations = new Cancellations();
  for (let i = 0; i <= 10_000; i++) {
    cancellations.add(String(i));
  }
  expect(cancellations.has('0')).toBe(false);
  expect(cancellations.has('1')).toBe(true);
  expect(cancellations.has('10000')).toBe(true);
});
