import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { RedisStreamsRecordBuilder } from '../../../lib/client/record.js';
import { ConfigurationError, MalformedEntryError } from '../../../lib/errors.js';
import { areHeaders, decodeEntry, encodeEntry, type MessageHeaders } from '../../../lib/protocol/entry.js';
import { anything, headers, isPrototypeClean, stored, text } from './arbitraries.js';

function overTheWire(sent: MessageHeaders | undefined): MessageHeaders | undefined {
  return decodeEntry(stored(encodeEntry({ pattern: 'p', data: '', headers: sent }))).headers;
}

/** JSON in which names and values are often what a hostile publisher would send. */
const json = fc
  .oneof(
    fc.dictionary(text, text, { maxKeys: 4 }).map((value) => JSON.stringify(value)),
    fc.dictionary(text, fc.oneof(text, fc.jsonValue()), { maxKeys: 4 }).map((value) => JSON.stringify(value)),
    fc.array(text, { maxLength: 3 }).map((value) => JSON.stringify(value)),
    fc.jsonValue().map((value) => JSON.stringify(value)),
    fc
      .tuple(text, text)
      .map(([key, value]) => `{${JSON.stringify(key)}:${JSON.stringify(value)},"__proto__":"x"}`),
    fc.constantFrom('{"\\u005f_proto__":"x"}', '{"__proto__":{"polluted":1}}', '{"a":"b"', '', 'null'),
    text,
  )
  .filter((value) => typeof value === 'string');

test('headers arrive as they were given to a record, whatever they are called and hold', () => {
  fc.assert(
    fc.property(headers, (sent) => {
      const record = new RedisStreamsRecordBuilder().setHeaders(sent).build();
      const arrived = overTheWire(record.headers)!;
      expect(Object.entries(arrived)).toEqual(Object.entries(sent));
      expect(Object.getPrototypeOf(arrived)).toBe(Object.prototype);
    }),
    { numRuns: 200 },
  );
});

test('a record takes a value as headers and carries it, or is a ConfigurationError', () => {
  const seen = { taken: 0, refused: 0 };
  fc.assert(
    fc.property(fc.oneof(anything, fc.dictionary(text, anything, { maxKeys: 3 })), (value) => {
      const builder = new RedisStreamsRecordBuilder();
      try {
        builder.setHeaders(value as MessageHeaders);
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigurationError);
        seen.refused++;
        return;
      }
      seen.taken++;
      const { headers: sent } = builder.build();
      expect(areHeaders(sent)).toBe(true);
      expect(overTheWire(sent)).toEqual({ ...sent });
    }),
    { numRuns: 300 },
  );
  expect(Math.min(seen.taken, seen.refused)).toBeGreaterThan(5);
});

test('headers on the wire are strings by name, or the entry is malformed; no prototype changes', () => {
  const seen = { headers: 0, malformed: 0 };
  fc.assert(
    fc.property(json, (written) => {
      let read: MessageHeaders | undefined;
      try {
        read = decodeEntry(stored(['pattern', 'p', 'headers', written])).headers;
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedEntryError);
        seen.malformed++;
        return;
      }
      seen.headers++;
      expect(read).toEqual(JSON.parse(written));
      expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
      expect(Object.hasOwn(read!, '__proto__')).toBe(false);
      // What careless code does with them.
      const merged = Object.assign({}, read);
      expect(Object.getPrototypeOf(merged)).toBe(Object.prototype);
    }),
    { numRuns: 500 },
  );
  expect(isPrototypeClean()).toBe(true);
  expect(Math.min(seen.headers, seen.malformed)).toBeGreaterThan(50);
});
