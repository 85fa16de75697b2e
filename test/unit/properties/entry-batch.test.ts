import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { addToBatch, fitsBatch, startBatch, type EntryBatch } from '../../../lib/protocol/entry-batch.js';
import { decodeEntry, encodeEntry, type OutgoingEntry } from '../../../lib/protocol/entry.js';
import { headers, outgoing, payload, stored, text, wireId } from './arbitraries.js';

type Argument = string | Buffer;

/** The arguments of the script, as `addMany` makes them. */
function argumentsOf({ shared, ownFields, values }: EntryBatch): Argument[] {
  return [String(shared.length), ...shared, String(ownFields.length), ...ownFields, ...values];
}

/** What the script in `lib/redis/scripts/add-many.ts` gives to XADD, line by line; Lua counts from 1. */
function runScript(args: readonly Argument[]): Argument[][] {
  const argv = (i: number) => args[i - 1]!;
  const added: Argument[][] = [];
  const shared = Number(argv(1));
  const own = Number(argv(2 + shared));
  const entry: Argument[] = [];
  for (let i = 1; i <= shared; i++) {
    entry[i - 1] = argv(1 + i);
  }
  for (let i = 1; i <= own; i++) {
    entry[shared + 2 * i - 2] = argv(2 + shared + i);
  }
  for (let at = 3 + shared + own; at <= args.length; at += own) {
    for (let i = 1; i <= own; i++) {
      entry[shared + 2 * i - 1] = argv(at + i - 1);
    }
    added.push([...entry]);
  }
  return added;
}

/** Cuts a queue into batches as the outbox does: a batch ends where an entry does not fit its first one. */
function batchesOf(queue: readonly OutgoingEntry[]): EntryBatch[] {
  const batches: EntryBatch[] = [];
  let first: OutgoingEntry | undefined;
  for (const entry of queue) {
    if (!first || !fitsBatch(first, entry)) {
      first = entry;
      batches.push(startBatch(entry));
    }
    addToBatch(batches[batches.length - 1]!, entry);
  }
  return batches;
}

/** What differs between an entry and the one before it: mostly nothing but pattern, data and id, and seldom much. */
const change = fc.oneof(
  { weight: 6, arbitrary: fc.constant({}) },
  { weight: 1, arbitrary: fc.record({ ttl: fc.constantFrom(undefined, 500, 501) }) },
  { weight: 1, arbitrary: fc.record({ codec: fc.constantFrom(undefined, 'msgpack') }) },
  { weight: 1, arbitrary: fc.record({ packet: fc.constantFrom(undefined, true) }) },
  { weight: 1, arbitrary: fc.record({ headers: fc.option(headers, { nil: undefined }) }) },
  { weight: 1, arbitrary: fc.record({ reply: fc.constantFrom(undefined, 'client', 'other') }) },
);
const queue = fc
  .array(fc.tuple(change, fc.record({ pattern: text, data: payload, id: wireId })), { maxLength: 12 })
  .map((steps) => {
    let settings: Partial<OutgoingEntry> = {};
    return steps.map(([changed, { id, ...own }]): OutgoingEntry => {
      settings = { ...settings, ...changed };
      return { ...settings, ...own, ...(settings.reply === undefined ? {} : { id }) };
    });
  });

test('entries that are written in batches are read as those written one by one, in their order', () => {
  let together = 0;
  fc.assert(
    fc.property(queue, (entries) => {
      const batches = batchesOf(entries);
      const written = batches.flatMap((batch) => runScript(argumentsOf(batch)));
      expect(written.map((fields) => decodeEntry(stored(fields)))).toEqual(
        entries.map((entry) => decodeEntry(stored(encodeEntry(entry)))),
      );
      together += entries.length - batches.length;
    }),
    { numRuns: 300 },
  );
  expect(together).toBeGreaterThan(200);
});

test('whether two entries fit does not depend on which comes first, and each fits itself', () => {
  fc.assert(
    fc.property(outgoing, outgoing, (a, b) => {
      expect(fitsBatch(a, b)).toBe(fitsBatch(b, a));
      expect(fitsBatch(a, a)).toBe(true);
    }),
  );
});
