import { expect, test } from '@jest/globals';
import { Holdings, type HeldEntry } from '../../../lib/server/holdings.js';

const entry = (stream: string, id: string): HeldEntry => ({ stream, id });

test('what was taken is held until it is released', () => {
  const holdings = new Holdings();
  expect(holdings.add(entry('a', '1-0'))).toBe(true);
  expect(holdings.has('a', '1-0')).toBe(true);
  holdings.release(entry('a', '1-0'));
  expect(holdings.has('a', '1-0')).toBe(false);
});

test('what is held cannot be taken a second time, and can once it is released', () => {
  const holdings = new Holdings();
  const first = entry('a', '1-0');
  holdings.add(first);
  expect(holdings.add(entry('a', '1-0'))).toBe(false);
  expect(holdings.of('a')[0]).toBe(first);
  holdings.release(first);
  expect(holdings.add(entry('a', '1-0'))).toBe(true);
});

test('the same id in two streams is two entries', () => {
  const holdings = new Holdings();
  expect(holdings.add(entry('a', '1-0'))).toBe(true);
  expect(holdings.add(entry('b', '1-0'))).toBe(true);
  holdings.release(entry('a', '1-0'));
  expect(holdings.has('b', '1-0')).toBe(true);
  expect(holdings.of('a')).toEqual([]);
  expect(holdings.of('b')).toEqual([entry('b', '1-0')]);
  expect(holdings.streamKeys).toEqual(['a', 'b']);
});

test('what is not held may be released, more than once', () => {
  const holdings = new Holdings();
  holdings.release(entry('a', '1-0'));
  holdings.add(entry('a', '1-0'));
  holdings.release(entry('a', '1-0'));
  holdings.release(entry('a', '1-0'));
  expect(holdings.of('a')).toEqual([]);
});

test('what is held of a stream is a list of its own', () => {
  const holdings = new Holdings();
  holdings.add(entry('a', '1-0'));
  const before = holdings.of('a');
  holdings.add(entry('a', '2-0'));
  expect(before).toHaveLength(1);
  expect(new Set(holdings.of('a'))).toEqual(new Set([entry('a', '1-0'), entry('a', '2-0')]));
  expect(holdings.of('elsewhere')).toEqual([]);
});
