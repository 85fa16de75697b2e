import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  entryTime,
  infoField,
  isEarlier,
  nextEntryId,
  parsePendingIds,
  parseStreams,
  parseTime,
} from '../../../lib/redis/replies.js';
import { text } from './arbitraries.js';

const MAX_PART = 2n ** 64n - 1n;

/** One half of an entry id: 64 bits, and the ends of what a number holds, a double holds, and Redis holds. */
const part = fc.oneof(
  fc.bigInt({ min: 0n, max: 20n }),
  fc.bigInt({ min: 1_600_000_000_000n, max: 1_900_000_000_000n }),
  fc.bigInt({ min: 2n ** 53n - 2n, max: 2n ** 53n + 2n }),
  fc.bigInt({ min: MAX_PART - 3n, max: MAX_PART }),
  fc.bigInt({ min: 0n, max: MAX_PART }),
);
const parts = fc.tuple(part, part);
type Parts = [time: bigint, seq: bigint];

function idOf([time, seq]: Parts): string {
  return `${time}-${seq}`;
}

function comesBefore([time, seq]: Parts, [otherTime, otherSeq]: Parts): boolean {
  return time < otherTime || (time === otherTime && seq < otherSeq);
}

/** Two ids that are often close to each other. */
const near = fc.oneof(
  fc.tuple(parts, parts),
  fc.tuple(parts, part).map(([[time, seq], otherSeq]): [Parts, Parts] => [
    [time, seq],
    [time, otherSeq],
  ]),
);

describe('entry ids', () => {
  test('are ordered as their two numbers are, over all 64 bits of both', () => {
    fc.assert(
      fc.property(near, ([a, b]) => {
        expect(isEarlier(idOf(a), idOf(b))).toBe(comesBefore(a, b));
      }),
      { numRuns: 1000 },
    );
  });

  test('are in total order', () => {
    fc.assert(
      fc.property(fc.array(parts, { maxLength: 8 }), (list) => {
        const ids = list.map(idOf);
        for (const a of ids) {
          for (const b of ids) {
            // Exactly one of: before, the same, after.
            expect(Number(isEarlier(a, b)) + Number(isEarlier(b, a)) + Number(a === b)).toBe(1);
          }
        }
        const sorted = ids.toSorted((a, b) => (isEarlier(a, b) ? -1 : Number(isEarlier(b, a))));
        const bySpec = list.toSorted((a, b) => (comesBefore(a, b) ? -1 : Number(comesBefore(b, a))));
        expect(sorted).toEqual(bySpec.map(idOf));
      }),
    );
  });

  test('are followed by the id right after them: nothing lies between, and Redis knows it', () => {
    fc.assert(
      fc.property(parts, ([time, seq]) => {
        fc.pre(time < MAX_PART || seq < MAX_PART);
        const next = nextEntryId(idOf([time, seq]));
        expect(next).toBe(seq < MAX_PART ? idOf([time, seq + 1n]) : idOf([time + 1n, 0n]));
        expect(isEarlier(idOf([time, seq]), next)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('hold the time, exact as far as a number is', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), part, (time, seq) => {
        expect(entryTime(`${time}-${seq}`)).toBe(time);
      }),
    );
  });
});

const bytes = fc.uint8Array({ maxLength: 8 }).map((value) => Buffer.from(value));
const fields = fc.array(fc.tuple(bytes, bytes), { maxLength: 3 }).map((pairs) => pairs.flat());
/** `null`: deleted while it was pending, as 6.2 and 7 say it in XREADGROUP's history. */
const entry = fc.record({ id: parts.map(idOf), fields: fc.option(fields, { nil: null }) });
const stream = fc.record({ stream: text, entries: fc.array(entry, { maxLength: 4 }) });
const streams = fc.uniqueArray(stream, { maxLength: 3, selector: (batch) => batch.stream });

describe('XREAD and XREADGROUP', () => {
  test('every stream, entry and byte is found, whatever is deleted or empty', () => {
    fc.assert(
      fc.property(streams, (batches) => {
        const reply = batches.map(({ stream: key, entries }) => [
          Buffer.from(key),
          entries.map(({ id, fields: values }) => [Buffer.from(id), values]),
        ]);
        expect(parseStreams(reply)).toEqual(
          batches.map(({ stream: key, entries }) => ({
            stream: key,
            entries: entries.map(({ id, fields: values }) => ({ id, fields: values ?? undefined })),
          })),
        );
      }),
      { numRuns: 200 },
    );
  });

  test('the answer is not copied, changed or kept', () => {
    fc.assert(
      fc.property(fields, (values) => {
        const before = values.map((value) => Buffer.from(value));
        const [batch] = parseStreams([[Buffer.from('s'), [[Buffer.from('1-0'), values]]]]);
        expect(batch!.entries[0]!.fields).toBe(values);
        expect(values).toEqual(before);
      }),
    );
  });

  test('no answer within BLOCK is no stream', () => {
    for (const nothing of [null, undefined, []]) {
      expect(parseStreams(nothing)).toEqual([]);
    }
  });
});

describe('XPENDING with a range', () => {
  /** Consumer, idle time and count; RESP3 and `stringNumbers` give the numbers as text. */
  const number = fc.oneof(fc.nat(), fc.nat().map(String));
  const pending = fc.tuple(parts.map(idOf), text, number, number);

  test('the ids in the order of the answer', () => {
    fc.assert(
      fc.property(fc.array(pending, { maxLength: 6 }), (reply) => {
        expect(parsePendingIds(reply)).toEqual(reply.map(([id]) => id));
      }),
    );
  });

  test('nothing pending is no id', () => {
    for (const nothing of [null, undefined, []]) {
      expect(parsePendingIds(nothing)).toEqual([]);
    }
  });
});

describe('TIME', () => {
  test('seconds and microseconds, as texts or numbers, in milliseconds', () => {
    const seconds = fc.integer({ min: 0, max: 4_102_444_800 });
    const micros = fc.integer({ min: 0, max: 999_999 });
    fc.assert(
      fc.property(seconds, micros, fc.boolean(), (s, us, asText) => {
        const time = parseTime(asText ? [String(s), String(us)] : [s, us]);
        expect(Math.abs(time - (s * 1000 + us / 1000))).toBeLessThan(0.001);
        expect(Math.floor(time)).toBe(s * 1000 + Math.floor(us / 1000));
      }),
    );
  });
});

describe('INFO', () => {
  const field = fc.stringMatching(/^[a-z][a-z_0-9]{0,12}$/);
  const value = fc.stringMatching(/^[a-zA-Z0-9:.,=/_-]{0,16}$/);

  test('every line is found by its name, and no other', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(field, value), { selector: ([key]) => key, maxLength: 6 }),
        field,
        fc.constantFrom('\n', '\r\n'),
        (lines, absent, end) => {
          const info = ['# Server', ...lines.map(([key, of]) => `${key}:${of}`), '', '# End', ''].join(end);
          for (const [key, of] of lines) {
            expect(infoField(info, key)).toBe(of);
          }
          if (!lines.some(([key]) => key === absent)) {
            expect(infoField(info, absent)).toBeUndefined();
          }
        },
      ),
    );
  });
});
