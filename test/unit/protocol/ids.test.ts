import { expect, test } from '@jest/globals';
import { IdSequence, isWireId, randomId } from '../../../lib/protocol/ids.js';

test.each(['a', 'A-z_09', '-', '_', 'x'.repeat(64)])('%j is an id', (id) => {
  expect(isWireId(id)).toBe(true);
});

test.each([
  ['empty', ''],
  ['too long', 'x'.repeat(65)],
  ['a colon', 'a:b'],
  ['braces', '{a}'],
  ['a trailing newline', 'abc\n'],
  ['a newline within', 'a\nb'],
  ['a space', 'a b'],
  ['a NUL', 'a\0'],
  ['a star', '*'],
  ['a letter beyond ASCII', 'é'],
  ['a digit beyond ASCII', '٣'],
])('an id with %s is none', (_, id) => {
  expect(isWireId(id)).toBe(false);
});

test('random ids may be used on the wire and differ', () => {
  const ids = Array.from({ length: 1000 }, () => randomId());
  expect(ids.every(isWireId)).toBe(true);
  expect(new Set(ids).size).toBe(1000);
  expect(randomId(48)).toHaveLength(64);
});

test('a sequence begins with its prefix and never repeats itself', () => {
  const sequence = new IdSequence('abc');
  const ids = Array.from({ length: 5000 }, () => sequence.next());
  expect(new Set(ids).size).toBe(5000);
  expect(ids.every((id) => id.startsWith('abc-') && isWireId(id))).toBe(true);
});

test('sequences with random prefixes do not meet', () => {
  const [a, b] = [new IdSequence(randomId()), new IdSequence(randomId())];
  expect(a.next()).not.toBe(b.next());
});
