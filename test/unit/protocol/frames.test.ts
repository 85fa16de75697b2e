import { describe, expect, test } from '@jest/globals';
import { MalformedEntryError } from '../../../lib/errors.js';
import { deliveriesOf, parseFrame, runId, sequenceFrame, singleFrame } from '../../../lib/protocol/frames.js';

describe('encoding', () => {
  test('a value, and an error', () => {
    expect(singleFrame('v', 'abc-1', false)).toBe('vabc-1');
    expect(singleFrame('e', 'abc-1', false)).toBe('eabc-1');
  });

  test('a next value, and the end after some', () => {
    expect(sequenceFrame('n', 'abc-1', '1-xyz', 0, false)).toBe('nabc-1:1-xyz:0');
    expect(sequenceFrame('c', 'abc-1', '1-xyz', 12, false)).toBe('cabc-1:1-xyz:12');
  });

  test('a capital letter where the payload is a packet', () => {
    expect(singleFrame('v', 'a', true)).toBe('Va');
    expect(sequenceFrame('c', 'a', 'r', 1, true)).toBe('Ca:r:1');
  });
});

describe('parsing', () => {
  test.each(['v', 'e'] as const)('%s', (kind) => {
    for (const packet of [false, true]) {
      const frame = parseFrame(singleFrame(kind, 'abc-1', packet));
      expect(frame).toEqual({ kind, id: 'abc-1', run: '', seq: 0, packet });
    }
  });

  test.each(['n', 'c'] as const)('%s', (kind) => {
    for (const packet of [false, true]) {
      const frame = parseFrame(sequenceFrame(kind, 'abc-1', '2-x_Y', 41, packet));
      expect(frame).toEqual({ kind, id: 'abc-1', run: '2-x_Y', seq: 41, packet });
    }
  });

  test('an id that begins with the letter of a frame', () => {
    expect(parseFrame('vvvv')).toMatchObject({ kind: 'v', id: 'vvv' });
  });

  test.each([
    ['nothing', ''],
    ['an unknown letter', 'xabc'],
    ['a digit', '1abc'],
    ['no id', 'v'],
    ['an id with a colon', 'va:b'],
    ['an id with a newline', 'va\n'],
    ['an id that is too long', `v${'a'.repeat(65)}`],
    ['an id with braces', 'v{a}'],
    ['__proto__ without a letter', '__proto__'],
    ['a next value without a run', 'nabc'],
    ['a next value without a number', 'nabc:1-x'],
    ['an empty run', 'nabc::0'],
    ['an empty number', 'nabc:1-x:'],
    ['an empty id before a run', 'n:1-x:0'],
    ['a negative number', 'nabc:1-x:-1'],
    ['a broken number', 'nabc:1-x:1.5'],
    ['a number past what a number holds', `nabc:1-x:${'9'.repeat(16)}`],
    ['a number that is a word', 'nabc:1-x:NaN'],
    ['too many parts', 'nabc:1-x:0:0'],
    ['a run with a space', 'cabc:1 x:0'],
    ['a number with a newline', 'cabc:1-x:0\n'],
  ])('%s is no frame', (_, field) => {
    expect(() => parseFrame(field)).toThrow(MalformedEntryError);
  });

  test('the error quotes at most 100 characters of what it got', () => {
    expect(() => parseFrame('x'.repeat(1_000_000))).toThrow(`'${'x'.repeat(100)}' is not a reply frame.`);
  });
});

test('a run says how often its request had been delivered', () => {
  expect(runId(3, 'Ab_-1')).toBe('3-Ab_-1');
  expect(deliveriesOf(runId(12, '-99'))).toBe(12);
  expect(deliveriesOf('from-elsewhere')).toBe(0);
  expect(deliveriesOf('')).toBe(0);
});
