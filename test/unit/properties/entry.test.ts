import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MalformedEntryError } from '../../../lib/errors.js';
import {
  decodeEntry,
  encodeEntry,
  type IncomingEntry,
  type OutgoingEntry,
} from '../../../lib/protocol/entry.js';
import { isWireId } from '../../../lib/protocol/ids.js';
import { isPrototypeClean, outgoing, stored, text } from './arbitraries.js';

const KNOWN = ['pattern', 'data', 'id', 'reply', 'ttl', 'headers', 'codec', 'packet'];

type Pair = [Buffer, Buffer];

/** What a reader makes of an entry, said without the code under test. */
function expected({ data, headers, ...entry }: OutgoingEntry): object {
  return {
    pattern: entry.pattern,
    data: Buffer.from(data),
    id: entry.id,
    reply: entry.reply,
    ttl: entry.ttl,
    headers: headers && { ...headers },
    codec: entry.codec ?? 'json',
    packet: entry.packet ?? false,
  };
}

function pairsOf(entry: OutgoingEntry): Pair[] {
  const fields = stored(encodeEntry(entry));
  return Array.from({ length: fields.length / 2 }, (_, i) => [fields[2 * i]!, fields[2 * i + 1]!]);
}

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 12 }).map((value) => Buffer.from(value)),
  text.map((value) => Buffer.from(value)),
);
/** Names that begin, end or sound like those that mean something. */
const almostKnown = fc
  .tuple(fc.constantFrom(...KNOWN), fc.constantFrom('s', ':', '\0', ' '), fc.nat(3))
  .map(([field, extra, how]) =>
    Buffer.from([field + extra, extra + field, field.toUpperCase(), field.slice(0, -1)][how]!),
  );
const unknownField = fc.tuple(
  fc.oneof(bytes, almostKnown).filter((field) => !KNOWN.includes(field.toString('latin1'))),
  bytes,
);
const knownName = fc.constantFrom(...KNOWN).map((field) => Buffer.from(field));
const plausibleValue = fc
  .constantFrom('a', 'a-1', '0', '30000', '9'.repeat(16), '1e3', '{}', '{"a":"b"}', '{"__proto__":"x"}', '[]')
  .map((value) => Buffer.from(value));

test('an entry is read as it was written', () => {
  fc.assert(
    fc.property(outgoing, (entry) => {
      expect(decodeEntry(stored(encodeEntry(entry)))).toEqual(expected(entry));
    }),
    { numRuns: 300 },
  );
});

test('neither the order of the fields nor unknown ones between them change what is read', () => {
  const scrambled = fc.tuple(outgoing, fc.array(unknownField, { maxLength: 4 })).chain(([entry, unknown]) => {
    const all = [...pairsOf(entry), ...unknown];
    return fc.tuple(
      fc.constant(entry),
      fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length }),
    );
  });
  fc.assert(
    fc.property(scrambled, ([entry, pairs]) => {
      expect(decodeEntry(pairs.flat())).toEqual(expected(entry));
    }),
  );
});

test('of a field that is there twice the last one counts, whole', () => {
  fc.assert(
    fc.property(outgoing, text, bytes, (entry, pattern, data) => {
      const more = stored(['pattern', pattern, 'data', data]);
      const decoded = decodeEntry([...stored(encodeEntry(entry)), ...more]);
      expect(decoded).toEqual({ ...expected(entry), pattern, data });
    }),
  );
});

test('a name without a value at the end changes nothing', () => {
  fc.assert(
    fc.property(outgoing, fc.oneof(knownName, bytes), (entry, field) => {
      expect(decodeEntry([...stored(encodeEntry(entry)), field])).toEqual(expected(entry));
    }),
  );
});

/** What the rest of the code relies on, whoever wrote the entry. */
function assertSound(entry: IncomingEntry): void {
  expect(typeof entry.pattern).toBe('string');
  expect(Buffer.isBuffer(entry.data)).toBe(true);
  if (entry.reply !== undefined) {
    // Part of a key, and of the fields of the reply.
    expect([entry.reply, entry.id].map((id) => isWireId(id ?? ''))).toEqual([true, true]);
  }
  if (entry.ttl !== undefined) {
    expect(Number.isSafeInteger(entry.ttl) && entry.ttl >= 0).toBe(true);
  }
  if (entry.headers !== undefined) {
    expect(Object.values(entry.headers).every((value) => typeof value === 'string')).toBe(true);
    expect(Object.getPrototypeOf(entry.headers)).toBe(Object.prototype);
  }
}

test('whatever lies in a stream is read soundly or is a MalformedEntryError, and nothing else', () => {
  const pair = fc.tuple(fc.oneof(knownName, bytes), fc.oneof(plausibleValue, bytes));
  const fields = fc
    .tuple(fc.array(pair, { maxLength: 8 }), fc.boolean(), fc.array(bytes, { maxLength: 1 }))
    .map(([pairs, withPattern, rest]) => [
      ...(withPattern ? stored(['pattern', 'p']) : []),
      ...pairs.flat(),
      ...rest,
    ]);
  const seen = { sound: 0, malformed: 0 };
  fc.assert(
    fc.property(fields, (list) => {
      let entry: IncomingEntry;
      try {
        entry = decodeEntry(list);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedEntryError);
        seen.malformed++;
        return;
      }
      assertSound(entry);
      seen.sound++;
    }),
    { numRuns: 500 },
  );
  expect(isPrototypeClean()).toBe(true);
  // Both ways were taken: else this test would say nothing.
  expect(Math.min(seen.sound, seen.malformed)).toBeGreaterThan(50);
});
