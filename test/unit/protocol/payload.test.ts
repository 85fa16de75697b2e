import { describe, expect, test } from '@jest/globals';
import { exceeds, payloadBytes, toArgument } from '../../../lib/protocol/payload.js';

describe('size', () => {
  test.each([
    ['', 0],
    ['abc', 3],
    ['ü', 2],
    ['€', 3],
    ['🚀', 4],
    ['\ud800', 3],
    [Buffer.from([1, 2]), 2],
    [new Uint8Array(5).subarray(1, 4), 3],
  ])('%j takes %i bytes', (payload, bytes) => {
    expect(payloadBytes(payload)).toBe(bytes);
  });

  test.each(['abcdef', 'üüü', '€€', '🚀\u0001a', Buffer.alloc(6)])(
    '%j is as large as 6, larger than 5',
    (payload) => {
      expect(exceeds(payload, 6)).toBe(false);
      expect(exceeds(payload, 5)).toBe(true);
    },
  );

  test('characters of three bytes are not let through by their number', () => {
    expect(exceeds('€'.repeat(100), 299)).toBe(true);
    expect(exceeds('€'.repeat(100), 300)).toBe(false);
  });
});

describe('what a command is given', () => {
  test('strings and Buffers as they are', () => {
    const buffer = Buffer.from('a');
    expect(toArgument(buffer)).toBe(buffer);
    expect(toArgument('a')).toBe('a');
  });

  test('other bytes as a Buffer over the same memory', () => {
    const memory = new Uint8Array([1, 2, 3, 4]);
    const argument = toArgument(memory.subarray(1, 3));
    expect(Buffer.isBuffer(argument)).toBe(true);
    expect(argument).toEqual(Buffer.from([2, 3]));
    memory[1] = 9;
    expect(argument).toEqual(Buffer.from([9, 3]));
  });
});
