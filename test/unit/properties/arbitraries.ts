import fc, { type Arbitrary } from 'fast-check';
import type { MessageHeaders, OutgoingEntry } from '../../../lib/protocol/entry.js';

const WIRE_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-';

/** Words that have a meaning to JavaScript, to Redis, or to what we write. */
export const HOSTILE_WORDS = [
  '',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  'valueOf',
  'toJSON',
  '{',
  '}',
  '{}',
  '}{',
  '{other:0}:inbox:victim',
  ':',
  'a:b',
  '*',
  '$',
  '>',
  '~',
  '0-0',
  'pattern',
  'data',
  'reply',
  'version',
  'topics',
  '\0',
  '\r\n',
  'a\nb',
  '{"cmd":"sum"}',
  'ümläut 🚀 \u2028',
];

/** Any text that UTF-8 can carry, and often one that has hurt somebody. */
export const text: Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: 'binary' }) },
  { weight: 2, arbitrary: fc.constantFrom(...HOSTILE_WORDS) },
  {
    weight: 1,
    arbitrary: fc
      .array(fc.oneof(fc.constantFrom(...HOSTILE_WORDS), fc.string({ unit: 'grapheme', maxLength: 3 })), {
        maxLength: 4,
      })
      .map((parts) => parts.join('')),
  },
);

/** A request id, a client id or a run. */
export const wireId: Arbitrary<string> = fc.string({
  unit: fc.constantFrom(...WIRE_ALPHABET),
  minLength: 1,
  maxLength: 64,
});

/** A namespace or the name of a service, as the options let it pass. */
export const name: Arbitrary<string> = fc
  .oneof(
    fc.string({ unit: fc.constantFrom(...'ab01:~.-_/'), minLength: 1, maxLength: 6 }),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }),
    fc.constantFrom('__proto__', 'constructor', 'replies', 'topic', 'a:0', 'version'),
  )
  .filter((value) => /^[^\s{}]{1,128}$/.test(value));

export const headers: Arbitrary<MessageHeaders> = fc
  .dictionary(text, text, { maxKeys: 5 })
  .filter((value) => !Object.hasOwn(value, '__proto__'));

export const payload: Arbitrary<string | Uint8Array> = fc.oneof(
  text,
  fc.uint8Array(),
  fc.uint8Array().map((bytes) => Buffer.from(bytes)),
);

/** Settings that all entries of a batch share. */
const settings = {
  ttl: fc.option(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { nil: undefined }),
  headers: fc.option(headers, { nil: undefined }),
  codec: fc.option(fc.string({ unit: fc.constantFrom(...'abcxyz019-'), minLength: 1, maxLength: 32 }), {
    nil: undefined,
  }),
  packet: fc.constantFrom(undefined, false, true),
};

export const event: Arbitrary<OutgoingEntry> = fc.record({ pattern: text, data: payload, ...settings });

export const request: Arbitrary<OutgoingEntry> = fc.record({
  pattern: text,
  data: payload,
  id: wireId,
  reply: wireId,
  ...settings,
});

/** A message of either kind, as a client writes it. */
export const outgoing: Arbitrary<OutgoingEntry> = fc.oneof(event, request);

/** Values of every kind that JavaScript has, nested. */
export const anything: Arbitrary<unknown> = fc.oneof(
  fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withSparseArray: true,
    withTypedArray: true,
    withUnicodeString: true,
    key: text,
  }),
  fc.constantFrom(Symbol('s'), () => 1, class {}, new Error('e'), /x/, Number.NaN, Infinity, -0),
);

const namesAtFirst = Reflect.ownKeys(Object.prototype).length;

/** Whether anything has been put where every object would have it. */
export function isPrototypeClean(): boolean {
  return (
    Reflect.ownKeys(Object.prototype).length === namesAtFirst &&
    Object.getPrototypeOf(Object.prototype) === null &&
    Reflect.ownKeys(Array.prototype).every((key) => key !== 'polluted')
  );
}

/** As Redis gives fields back: every name and value a Buffer. */
export function stored(fields: readonly (string | Uint8Array)[]): Buffer[] {
  return fields.map((field) => (typeof field === 'string' ? Buffer.from(field) : Buffer.from(field)));
}
