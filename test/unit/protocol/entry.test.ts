import { describe, expect, test } from '@jest/globals';
import { MalformedEntryError } from '../../../lib/errors.js';
import {
  areHeaders,
  decodeEntry,
  encodeEntry,
  type IncomingEntry,
  type OutgoingEntry,
} from '../../../lib/protocol/entry.js';

/** As Redis gives an entry back: every name and value a Buffer. */
function stored(...fields: (string | Buffer)[]): Buffer[] {
  return fields.map((field) => (typeof field === 'string' ? Buffer.from(field) : field));
}

function roundTrip(entry: OutgoingEntry): IncomingEntry {
  return decodeEntry(stored(...encodeEntry(entry)));
}

describe('encoding', () => {
  test('an event of JSON takes two fields', () => {
    expect(encodeEntry({ pattern: 'a', data: '1' })).toEqual(['pattern', 'a', 'data', '1']);
  });

  test('every part is a field of its own', () => {
    const entry: OutgoingEntry = {
      pattern: 'sum',
      data: '[1]',
      id: 'i-1',
      reply: 'client',
      ttl: 30_000,
      headers: { tenant: 'a' },
      codec: 'msgpack',
      packet: true,
    };
    expect(encodeEntry(entry)).toEqual(
      ['pattern', 'sum', 'data', '[1]', 'id', 'i-1', 'reply', 'client', 'ttl', '30000'].concat([
        'headers',
        '{"tenant":"a"}',
        'codec',
        'msgpack',
        'packet',
        '1',
      ]),
    );
  });

  test('a Uint8Array is written as its own bytes, not as those of the memory it is a part of', () => {
    const memory = new Uint8Array([1, 2, 3, 4]);
    const [, , , data] = encodeEntry({ pattern: 'a', data: memory.subarray(1, 3) });
    expect(data).toEqual(Buffer.from([2, 3]));
  });
});

describe('round trip', () => {
  test('a request', () => {
    const entry = { pattern: 'sum', data: '[1]', id: 'i-1', reply: 'client', ttl: 5, headers: { a: 'b' } };
    expect(roundTrip(entry)).toEqual({
      pattern: 'sum',
      data: Buffer.from('[1]'),
      id: 'i-1',
      reply: 'client',
      ttl: 5,
      headers: { a: 'b' },
      codec: 'json',
      packet: false,
    });
  });

  test('an event', () => {
    expect(roundTrip({ pattern: 'placed', data: '{}', codec: 'msgpack', packet: true })).toEqual({
      pattern: 'placed',
      data: Buffer.from('{}'),
      id: undefined,
      reply: undefined,
      ttl: undefined,
      headers: undefined,
      codec: 'msgpack',
      packet: true,
    });
  });

  test.each([
    ['empty', ''],
    ['braces', '{a}:{b}'],
    ['newlines', 'a\r\nb'],
    ['__proto__', '__proto__'],
    ['the name of a field', 'data'],
    ['unicode', 'ümläut 🚀 \u2028'],
    ['an object pattern', '{"cmd":"sum"}'],
    ['a NUL', 'a\0b'],
  ])('a pattern with %s', (_, pattern) => {
    expect(roundTrip({ pattern, data: '1' }).pattern).toBe(pattern);
  });

  test('data of every byte', () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    expect(roundTrip({ pattern: 'a', data: bytes }).data).toEqual(bytes);
  });

  test('empty data', () => {
    expect(roundTrip({ pattern: 'a', data: '' }).data).toHaveLength(0);
  });

  test('headers with newlines, unicode and names of Object.prototype', () => {
    const headers = { a: 'x\ny', ü: '🚀', constructor: 'c', toString: 't', '': '' };
    expect(roundTrip({ pattern: 'a', data: '', headers }).headers).toEqual(headers);
  });

  test('a ttl of 0 is one', () => {
    expect(roundTrip({ pattern: 'a', data: '', ttl: 0 }).ttl).toBe(0);
  });
});

describe('decoding what others wrote', () => {
  test('fields are found by name, in any order', () => {
    const entry = decodeEntry(stored('ttl', '7', 'reply', 'c', 'data', 'x', 'id', 'i', 'pattern', 'p'));
    expect(entry).toMatchObject({ pattern: 'p', id: 'i', reply: 'c', ttl: 7 });
    expect(entry.data.toString()).toBe('x');
  });

  test('unknown fields are passed over, whatever they are called', () => {
    const entry = decodeEntry(
      stored(
        '__proto__',
        'x',
        'constructor',
        'y',
        'PATTERN',
        'z',
        Buffer.from([0xff, 0]),
        'b',
        'pattern',
        'p',
      ),
    );
    expect(entry).toEqual({ ...roundTrip({ pattern: 'p', data: '' }) });
    expect(Object.getPrototypeOf(entry)).toBe(Object.prototype);
  });

  test('data may be missing: it is undefined then, as zero bytes are', () => {
    expect(decodeEntry(stored('pattern', 'p')).data).toHaveLength(0);
  });

  test('an id without a reply stays: a replayed request, whose answer nobody waits for', () => {
    expect(decodeEntry(stored('pattern', 'p', 'id', 'i'))).toMatchObject({ id: 'i', reply: undefined });
  });

  test.each(['', 'urn:uuid:1', 'a'.repeat(65), 'a\nb'])(
    '%j is no id of a request: it is passed over',
    (id) => {
      expect(decodeEntry(stored('pattern', 'p', 'id', id))).toMatchObject({
        id: undefined,
        reply: undefined,
      });
    },
  );

  test('a name without a value is passed over', () => {
    expect(decodeEntry(stored('pattern', 'p', 'reply')).reply).toBeUndefined();
  });

  test.each([
    ['no pattern', ['data', '1'], /no field 'pattern'/],
    ['no fields', [], /no field 'pattern'/],
    ['a reply with a colon', ['pattern', 'p', 'id', 'i', 'reply', 'a:b'], /'reply'/],
    ['a reply that would leave its key', ['pattern', 'p', 'id', 'i', 'reply', '{x}:inbox:y'], /'reply'/],
    ['an empty reply', ['pattern', 'p', 'id', 'i', 'reply', ''], /'reply'/],
    ['a reply with a newline', ['pattern', 'p', 'id', 'i', 'reply', 'c\n'], /'reply'/],
    ['a reply that is too long', ['pattern', 'p', 'id', 'i', 'reply', 'c'.repeat(65)], /'reply'/],
    ['a reply without an id', ['pattern', 'p', 'reply', 'c'], /'id'/],
    ['an id with a colon', ['pattern', 'p', 'reply', 'c', 'id', 'i:1:2'], /'id'/],
    ['an empty id', ['pattern', 'p', 'reply', 'c', 'id', ''], /'id'/],
    ['an id beyond ASCII', ['pattern', 'p', 'reply', 'c', 'id', 'é'], /'id'/],
    ['a negative ttl', ['pattern', 'p', 'ttl', '-1'], /'ttl'/],
    ['a broken ttl', ['pattern', 'p', 'ttl', '1.5'], /'ttl'/],
    ['an empty ttl', ['pattern', 'p', 'ttl', ''], /'ttl'/],
    ['a ttl in words', ['pattern', 'p', 'ttl', 'Infinity'], /'ttl'/],
    ['a ttl with an exponent', ['pattern', 'p', 'ttl', '1e3'], /'ttl'/],
    ['a ttl past what a number holds', ['pattern', 'p', 'ttl', '9'.repeat(16)], /'ttl'/],
    ['a ttl with a newline', ['pattern', 'p', 'ttl', '1\n'], /'ttl'/],
    ['headers that are not JSON', ['pattern', 'p', 'headers', '{'], /'headers' is not JSON/],
    ['empty headers', ['pattern', 'p', 'headers', ''], /'headers' is not JSON/],
    ['headers that are a list', ['pattern', 'p', 'headers', '["a"]'], /'headers'/],
    ['headers that are null', ['pattern', 'p', 'headers', 'null'], /'headers'/],
    ['headers that are a string', ['pattern', 'p', 'headers', '"a"'], /'headers'/],
    ['headers with a number', ['pattern', 'p', 'headers', '{"a":1}'], /'headers'/],
    ['headers with an object', ['pattern', 'p', 'headers', '{"a":{}}'], /'headers'/],
    ['headers with __proto__', ['pattern', 'p', 'headers', '{"__proto__":"x"}'], /'headers'/],
    [
      'headers with an escaped __proto__',
      ['pattern', 'p', 'headers', '{"\\u005f_proto__":"x"}'],
      /'headers'/,
    ],
    ['headers with a __proto__ object', ['pattern', 'p', 'headers', '{"__proto__":{"a":"b"}}'], /'headers'/],
  ])('%s is malformed, and the error says what', (_, fields, message) => {
    const decode = () => decodeEntry(stored(...fields));
    expect(decode).toThrow(MalformedEntryError);
    expect(decode).toThrow(message);
  });
});

test('only plain objects of strings are headers', () => {
  expect([{}, { a: '' }, Object.create(null) as object].every(areHeaders)).toBe(true);
  const others = [null, undefined, 'a', 1, ['a'], { a: 1 }, { a: null }, { a: undefined }];
  expect(others.some(areHeaders)).toBe(false);
});
