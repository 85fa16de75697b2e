import { expect, test } from '@jest/globals';
import { addToBatch, fitsBatch, startBatch, type EntryBatch } from '../../../lib/protocol/entry-batch.js';
import { decodeEntry, encodeEntry, type OutgoingEntry } from '../../../lib/protocol/entry.js';

const request: OutgoingEntry = { pattern: 'sum', data: '[1]', id: 'i-1', reply: 'c', ttl: 500 };
const full: OutgoingEntry = { ...request, headers: { a: 'ü\n' }, codec: 'msgpack', packet: true };
const event: OutgoingEntry = { pattern: 'placed', data: new Uint8Array([0, 255]) };

/** What the script makes of a batch: the shared fields and its own for each entry. */
function expand({ shared, ownFields, values }: EntryBatch): Buffer[][] {
  expect(values.length % ownFields.length).toBe(0);
  return Array.from({ length: values.length / ownFields.length }, (_, entry) => [
    ...shared.map((field) => Buffer.from(field)),
    ...ownFields.flatMap((name, i) => {
      const value = values[entry * ownFields.length + i]!;
      return [Buffer.from(name), typeof value === 'string' ? Buffer.from(value) : value];
    }),
  ]);
}

function decodeSingly(entry: OutgoingEntry) {
  return decodeEntry(
    encodeEntry(entry).map((field) => (typeof field === 'string' ? Buffer.from(field) : field)),
  );
}

test.each([
  ['requests', [request, { ...request, id: 'i-2', pattern: 'other', data: '' }]],
  ['events', [event, { ...event, data: '{}' }]],
  ['requests with everything', [full, { ...full, id: 'i-2', headers: {} }]],
  [
    'events with headers',
    [
      { ...event, headers: { a: 'b' } },
      { ...event, headers: { c: 'd' } },
    ],
  ],
])('%s written by a batch are read as those written one by one', (_, entries: OutgoingEntry[]) => {
  const batch = startBatch(entries[0]!);
  for (const entry of entries) {
    expect(fitsBatch(entries[0]!, entry)).toBe(true);
    addToBatch(batch, entry);
  }
  expect(expand(batch).map(decodeEntry)).toEqual(entries.map(decodeSingly));
});

test.each([
  ['ttl', request, { ...request, ttl: 501 }],
  ['reply', request, { ...request, reply: 'd' }],
  ['codec', request, { ...request, codec: 'msgpack' }],
  ['packet', request, { ...request, packet: true }],
  ['headers, which only one has', request, { ...request, headers: {} }],
  ['kind', request, event],
])(
  'an entry of another %s does not fit, whichever comes first',
  (_, first: OutgoingEntry, second: OutgoingEntry) => {
    expect(fitsBatch(first, second)).toBe(false);
    expect(fitsBatch(second, first)).toBe(false);
  },
);
