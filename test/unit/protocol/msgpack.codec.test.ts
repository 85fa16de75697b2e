import { beforeAll, describe, expect, test } from '@jest/globals';
import { pack } from 'msgpackr';
import { ConfigurationError, DeserializationError, SerializationError } from '../../../lib/errors.js';
import { decodeValue, encodeValue } from '../../../lib/protocol/codec.js';
import { MsgpackCodec } from '../../../lib/protocol/msgpack.codec.js';
import { toArgument } from '../../../lib/protocol/payload.js';

const codec = new MsgpackCodec();
beforeAll(() => codec.load());

function roundTrip(value: unknown): unknown {
  const argument = toArgument(encodeValue(codec, value, 'The data'));
  return decode(Buffer.from(argument));
}

function decode(bytes: Buffer): unknown {
  return decodeValue(codec, bytes, 'The data');
}

describe('survives', () => {
  test.each([
    ['undefined', undefined],
    ['null', null],
    ['0', 0],
    ['an empty string', ''],
    ['false', false],
    ['unicode', 'ümläut 🚀 \u2028 \u0000'],
    ['every number from -200 to 300', Array.from({ length: 500 }, (_, i) => i - 200)],
    ['what JSON has no number for', [Number.NaN, Infinity, -Infinity, 1.5e300]],
    ['nested objects and lists', { a: [{ b: { c: [null, [], {}] } }] }],
    ['undefined within', { a: undefined, b: [undefined] }],
    ['a Date', new Date(1_700_000_000_123)],
    ['64-bit BigInts', [2n ** 63n - 1n, -(2n ** 63n)]],
    ['a constructor that is no pollution', { constructor: 'ACME' }],
  ])('%s', (_, value) => {
    expect(roundTrip(value)).toStrictEqual(value);
  });

  test('Buffers, with every byte', () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const result = roundTrip({ bytes, empty: Buffer.alloc(0) }) as { bytes: Buffer; empty: Buffer };
    expect(Buffer.isBuffer(result.bytes)).toBe(true);
    expect(result.bytes).toEqual(bytes);
    expect(result.empty).toHaveLength(0);
  });

  test('5 MB', () => {
    const value = { bytes: Buffer.alloc(2_500_000, 7), text: 'é'.repeat(1_250_000) };
    expect(codec.encode(value).length).toBeGreaterThan(5_000_000);
    const result = roundTrip(value) as typeof value;
    // Not toEqual, which looks at each byte by itself.
    expect(result.bytes.equals(value.bytes)).toBe(true);
    expect(result.text).toBe(value.text);
  });

  test('an object of 100,000 keys', () => {
    const value = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`key${i}`, i]));
    expect(roundTrip(value)).toEqual(value);
  });

  test('what was encoded earlier is not overwritten by what is encoded later', () => {
    const first = codec.encode({ a: 1 });
    const before = Buffer.from(first);
    for (let i = 0; i < 1000; i++) {
      codec.encode({ filler: i });
    }
    expect(first).toEqual(before);
  });
});

test('undefined takes zero bytes', () => {
  expect(encodeValue(codec, undefined, 'The data')).toBe('');
});

describe('cannot carry', () => {
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  test.each([
    ['a BigInt of more than 64 bits', 2n ** 70n],
    ['a circular object', circular],
    ['a symbol', { a: Symbol('s') }],
    ['a function', () => 1],
  ])('%s: a SerializationError', (_, value) => {
    expect(() => encodeValue(codec, value, "The data for 'sum'")).toThrow(SerializationError);
    expect(() => encodeValue(codec, value, "The data for 'sum'")).toThrow(
      /^The data for 'sum' cannot be encoded as msgpack: ./,
    );
    expect(roundTrip({ still: 'works' })).toEqual({ still: 'works' });
  });
});

describe('bytes from elsewhere', () => {
  test.each([
    ['half a value', pack({ a: 'hello' }).subarray(0, 4)],
    ['more than a value', Buffer.concat([pack(1), pack(2)])],
    ['a list that claims two thousand million items', Buffer.from([0xdd, 0x7f, 0xff, 0xff, 0xff])],
    ['a map whose key is a map', Buffer.from([0x81, 0x80, 0x01])],
    ['a map whose key is a list', Buffer.concat([Buffer.from([0x81]), pack(['__proto__']), pack(1)])],
  ])('%s: a DeserializationError', (_, bytes) => {
    expect(() => decode(bytes)).toThrow(DeserializationError);
    expect(() => decode(bytes)).toThrow(/^The data cannot be decoded as msgpack: ./);
    expect(roundTrip({ still: 'works' })).toEqual({ still: 'works' });
  });

  const polluting = pack({ polluted: 1 });
  test.each([
    ['a map', Buffer.concat([Buffer.from([0x81]), pack('__proto__'), polluting])],
    ['a map in a list', Buffer.concat([Buffer.from([0x91, 0x81]), pack('__proto__'), polluting])],
    [
      "a record of msgpackr's own",
      Buffer.concat([Buffer.from([0xd4, 0x72, 0x40]), pack(['__proto__']), polluting]),
    ],
  ])('__proto__ in %s reaches no prototype', (_, bytes) => {
    const decoded = [decode(bytes)].flat()[0] as object;
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype);
    expect(Object.hasOwn(decoded, '__proto__')).toBe(false);
    expect(Object.assign({}, decoded)).not.toHaveProperty('polluted');
    expect({}).not.toHaveProperty('polluted');
  });

  test('a record in one message does not change how the next is read', () => {
    decode(Buffer.concat([Buffer.from([0xd4, 0x72, 0x40]), pack(['a']), pack(1)]));
    expect(roundTrip([64, { n: 64 }])).toEqual([64, { n: 64 }]);
  });
});

test('it says so when it is used before it was loaded', () => {
  const unloaded = new MsgpackCodec();
  expect(() => unloaded.encode(1)).toThrow(ConfigurationError);
  expect(() => unloaded.decode(Buffer.from([1]))).toThrow(/before load\(\) had finished/);
});

test('it may be loaded twice', async () => {
  const twice = new MsgpackCodec();
  await Promise.all([twice.load(), twice.load()]);
  await twice.load();
  expect(twice.decode(twice.encode({ a: 1 }))).toEqual({ a: 1 });
});
