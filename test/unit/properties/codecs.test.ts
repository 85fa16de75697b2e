import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { DeserializationError, SerializationError } from '../../../lib/errors.js';
import { decodeValue, encodeValue, type Codec } from '../../../lib/protocol/codec.js';
import { JsonCodec } from '../../../lib/protocol/json.codec.js';
import { MsgpackCodec } from '../../../lib/protocol/msgpack.codec.js';
import { payloadBytes } from '../../../lib/protocol/payload.js';
import { anything, isPrototypeClean, text } from './arbitraries.js';

const json = new JsonCodec();
const msgpack = new MsgpackCodec();
beforeAll(() => msgpack.load());

function decode(codec: Codec, bytes: string | Uint8Array): unknown {
  return decodeValue(codec, Buffer.from(bytes), 'The data');
}

function roundTrip(codec: Codec, value: unknown): unknown {
  return decode(codec, encodeValue(codec, value, 'The data'));
}

const key = fc.oneof(text, fc.constantFrom('__proto__', 'constructor', 'prototype', 'polluted'));

/** JSON values in which the words that reach prototypes are frequent. */
const hostileJson = jsonWith(key);

function jsonWith(names: fc.Arbitrary<string>): fc.Arbitrary<unknown> {
  return fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.oneof(fc.constant(null), fc.boolean(), fc.integer(), text),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.array(fc.tuple(names, tie('value')), { maxLength: 3 }).map((pairs) => Object.fromEntries(pairs)),
    ),
  })).value;
}

/** Whether merging a value carelessly would change a prototype: what `decode` must refuse. */
function reachesPrototype(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) {
    return false;
  }
  return Object.entries(value).some(
    ([name, member]) =>
      name === '__proto__' ||
      (name === 'constructor' &&
        typeof member === 'object' &&
        member !== null &&
        Object.hasOwn(member as object, 'prototype')) ||
      reachesPrototype(member),
  );
}

/** Spells some characters of the strings in a JSON text by escapes; its meaning stays the same. */
function escapeSome(source: string, choose: readonly boolean[]): string {
  let at = 0;
  return source.replace(/"(?:[^"\\]|\\.)*"/g, (string) =>
    string.replace(/\\u[0-9a-f]{4}|\\.|\w/g, (char) =>
      char.length === 1 && choose[at++ % choose.length]
        ? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
        : char,
    ),
  );
}

describe('JSON', () => {
  test('what JSON has arrives as it was sent, unless it reaches for a prototype', () => {
    let refused = 0;
    fc.assert(
      fc.property(hostileJson, fc.array(fc.boolean(), { minLength: 1 }), (value, escapes) => {
        const written = escapeSome(JSON.stringify(value), escapes);
        if (reachesPrototype(value)) {
          refused++;
          expect(() => decode(json, written)).toThrow(DeserializationError);
        } else {
          expect(decode(json, written)).toEqual(value);
        }
      }),
      { numRuns: 1000 },
    );
    expect(refused).toBeGreaterThan(50);
    expect(isPrototypeClean()).toBe(true);
  });

  test('any text is what JSON.parse makes of it, or a DeserializationError', () => {
    fc.assert(
      fc.property(fc.oneof(text, fc.json(), fc.uint8Array()), (bytes) => {
        let decoded: unknown;
        try {
          decoded = decode(json, bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(DeserializationError);
          return;
        }
        const written = Buffer.from(bytes).toString();
        expect(decoded).toEqual(written === '' ? undefined : JSON.parse(written));
        expect(reachesPrototype(decoded)).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  test('any value is written as text that is read again, or is a SerializationError', () => {
    fc.assert(
      fc.property(anything, (value) => {
        const written = encodedOrRefused(json, value);
        if (typeof written === 'string' && written !== '') {
          expect(() => void JSON.parse(written)).not.toThrow();
        }
      }),
    );
  });
});

describe('MessagePack', () => {
  /**
   * Msgpackr stores the key `__proto__` under another name, so that it never arrives, and calls `toJSON` of an object
   * that has a key `constructor`: an error where it is no function.
   */
  const safeKey = key.filter((name) => name !== '__proto__' && name !== 'toJSON');
  const polluting = jsonWith(key.filter((name) => name !== 'toJSON'));
  const { value: carried } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.oneof(
        fc.constantFrom(null, undefined, Number.NaN, Infinity),
        fc.boolean(),
        fc.integer(),
        // The numbers by which msgpackr knows its records.
        fc.integer({ min: 0x40, max: 0x7f }),
        fc.double().filter((number) => !Object.is(number, -0)),
        text,
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('2500-01-01') }),
        fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      ),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.array(fc.tuple(safeKey, tie('value')), { maxLength: 4 }).map((pairs) => Object.fromEntries(pairs)),
    ),
  }));

  test('what it carries arrives as it was sent', () => {
    fc.assert(
      fc.property(carried, (value) => {
        expect(roundTrip(msgpack, value)).toEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  test('any value is written, or is a SerializationError, and the next one is not disturbed', () => {
    fc.assert(
      fc.property(anything, carried, (value, next) => {
        encodedOrRefused(msgpack, value);
        expect(roundTrip(msgpack, next)).toEqual(next);
      }),
      { numRuns: 200 },
    );
  });

  /** Bytes that begin as a message does and end otherwise, records and extensions of msgpackr among them. */
  const record = fc
    .tuple(fc.integer({ min: 0x40, max: 0x7f }), fc.array(key, { minLength: 1, maxLength: 3 }), fc.nat())
    .map(([id, keys, first]) =>
      Buffer.concat([Buffer.from([0xd4, 0x72, id]), msgpack.encode(keys), msgpack.encode(first)]),
    );
  const hostileBytes = fc.oneof(
    fc.uint8Array(),
    record,
    fc
      .tuple(
        fc.constantFrom(
          [0xd4, 0x72, 0x40],
          [0x81],
          [0x92],
          [0xd4, 0x65, 0],
          [0xd6, 0x69, 0, 0, 0, 1],
          [0xc7],
        ),
        polluting,
        fc.uint8Array({ maxLength: 12 }),
      )
      .map(([start, value, end]) =>
        Buffer.concat([Buffer.from(start), msgpack.encode(value ?? null), Buffer.from(end)]),
      ),
    fc
      .tuple(carried, fc.nat(), fc.integer({ min: 0, max: 255 }))
      .filter(([value]) => value !== undefined)
      .map(([value, at, byte]) => {
        const bytes = Buffer.from(msgpack.encode(value));
        bytes[at % bytes.length] = byte;
        return bytes;
      }),
  );

  test('any bytes are read or are a DeserializationError, and neither prototypes nor the next message suffer', () => {
    fc.assert(
      fc.property(hostileBytes, carried, (bytes, next) => {
        let decoded: unknown;
        try {
          decoded = decode(msgpack, bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(DeserializationError);
        }
        if (typeof decoded === 'object' && decoded !== null) {
          expect(Object.hasOwn(decoded, '__proto__')).toBe(false);
        }
        expect(isPrototypeClean()).toBe(true);
        expect(roundTrip(msgpack, next)).toEqual(next);
      }),
      { numRuns: 500 },
    );
  });
});

function encodedOrRefused(codec: Codec, value: unknown): string | Uint8Array | undefined {
  try {
    const written = encodeValue(codec, value, 'The data');
    // Zero bytes mean undefined, and nothing else does.
    expect(payloadBytes(written) === 0).toBe(value === undefined);
    return written;
  } catch (error) {
    expect(error).toBeInstanceOf(SerializationError);
    return undefined;
  }
}
