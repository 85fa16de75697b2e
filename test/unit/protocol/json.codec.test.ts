import { describe, expect, test } from '@jest/globals';
import { DeserializationError, SerializationError } from '../../../lib/errors.js';
import { decodeValue, encodeValue } from '../../../lib/protocol/codec.js';
import { JsonCodec } from '../../../lib/protocol/json.codec.js';
import { toArgument } from '../../../lib/protocol/payload.js';

const codec = new JsonCodec();

function roundTrip(value: unknown): unknown {
  return decode(toArgument(encodeValue(codec, value, 'The data')));
}

function decode(bytes: string | Buffer): unknown {
  return decodeValue(codec, Buffer.from(bytes), 'The data');
}

describe('survives', () => {
  test.each([
    ['undefined', undefined],
    ['null', null],
    ['0', 0],
    ['an empty string', ''],
    ['false', false],
    ['a negative fraction', -1.5e-7],
    ['unicode', 'ümläut 🚀 \u2028 \u0000 "quoted" \\'],
    ['nested objects and lists', { a: [{ b: { c: [null, [], {}] } }] }],
    ['keys of Object.prototype', { toString: 1, hasOwnProperty: 2, valueOf: null }],
    ['the words as values', ['__proto__', 'constructor', { key: '__proto__' }]],
  ])('%s', (_, value) => {
    expect(roundTrip(value)).toStrictEqual(value);
  });

  test('a constructor that is no pollution', () => {
    const value = { constructor: 'ACME', sub: { constructor: { name: 'x' } } };
    expect(roundTrip(value)).toEqual(value);
  });

  test('5 MB', () => {
    const value = { text: 'é🚀"'.repeat(700_000), list: Array.from({ length: 10_000 }, (_, i) => i) };
    expect(Buffer.byteLength(codec.encode(value))).toBeGreaterThan(5_000_000);
    expect(roundTrip(value)).toEqual(value);
  });

  test('an object of 100,000 keys', () => {
    const value = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`key${i}`, i]));
    expect(roundTrip(value)).toEqual(value);
  });

  test('a Date as its text, a Buffer as JSON has it, NaN as null', () => {
    expect(roundTrip(new Date(0))).toBe('1970-01-01T00:00:00.000Z');
    expect(roundTrip(Buffer.from([1]))).toEqual({ type: 'Buffer', data: [1] });
    expect(roundTrip([Number.NaN])).toEqual([null]);
  });

  test('a lone surrogate, as JSON escapes it', () => {
    expect(roundTrip('\ud800')).toBe('\ud800');
  });
});

test('undefined takes zero bytes, and the codec is not asked', () => {
  expect(encodeValue(codec, undefined, 'The data')).toBe('');
});

describe('cannot carry', () => {
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  test.each([
    ['a BigInt', 1n],
    ['a nested BigInt', { a: [1n] }],
    ['a circular object', circular],
    ['a function', () => 1],
    ['a symbol', Symbol('s')],
    [
      'an object whose toJSON throws',
      {
        toJSON: () => {
          throw new Error('no');
        },
      },
    ],
    ['an object whose toJSON gives nothing', { toJSON: () => undefined }],
  ])('%s: a SerializationError that names what could not be encoded', (_, value) => {
    const encode = () => encodeValue(codec, value, "The data for 'sum'");
    expect(encode).toThrow(SerializationError);
    expect(encode).toThrow(/^The data for 'sum' cannot be encoded as json: ./);
  });

  test('the cause is kept', () => {
    let caught: unknown;
    try {
      encodeValue(codec, 1n, 'x');
    } catch (error) {
      caught = error;
    }
    expect(caught).toMatchObject({
      code: 'SERIALIZATION',
      cause: expect.objectContaining({ name: 'TypeError' }),
    });
  });
});

describe('refuses', () => {
  test.each([
    ['half a text', '{"a":'],
    ['white space', ' '],
    ['no JSON', 'undefined'],
    ['two texts', '1 2'],
    ['bytes that are no UTF-8', Buffer.from([0xff, 0xfe])],
    ['a trailing NUL', '1\0'],
  ])('%s: a DeserializationError', (_, bytes) => {
    expect(() => decode(bytes)).toThrow(DeserializationError);
    expect(() => decode(bytes)).toThrow(/^The data cannot be decoded as json: ./);
  });

  test.each([
    ['__proto__', '{"__proto__":{"polluted":1}}'],
    ['a nested __proto__', '{"a":[{"b":{"__proto__":{"polluted":1}}}]}'],
    ['__proto__ in part escaped', '{"\\u005f_proto__":{"polluted":1}}'],
    ['__proto__ escaped in capitals', '{"\\u005F\\u005Fproto\\u005F\\u005F":{"polluted":1}}'],
    ['__proto__ escaped letter by letter', `{"${escaped('__proto__')}":{"polluted":1}}`],
    ['a __proto__ that is no object', '{"__proto__":1}'],
    ['__proto__ after white space', '{ "__proto__" : null }'],
    ['constructor.prototype', '{"constructor":{"prototype":{"polluted":1}}}'],
    ['constructor . prototype with white space', '{"constructor" :\n{ "prototype" : {} } }'],
    ['an escaped constructor', '{"\\u0063onstructor":{"prototype":{"polluted":1}}}'],
    ['an escaped prototype', '{"constructor":{"\\u0070rototype":{"polluted":1}}}'],
    ['a nested constructor.prototype', '[{"a":{"constructor":{"prototype":{"polluted":1}}}}]'],
  ])('%s', (_, text) => {
    expect(() => decode(text)).toThrow(DeserializationError);
    expect(() => decode(text)).toThrow(/has the key '(__proto__|constructor\.prototype)'/);
    expect({}).not.toHaveProperty('polluted');
  });
});

function escaped(text: string): string {
  return [...text].map((char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
}
