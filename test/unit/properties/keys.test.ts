import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { IdSequence, isWireId, randomId } from '../../../lib/protocol/ids.js';
import { Keys } from '../../../lib/redis/keys.js';
import { name, text, wireId } from './arbitraries.js';

/** What a Redis Cluster hashes of a key: the text between the first `{` and the next `}`, where there is some. */
function tagOf(key: string): string {
  const start = key.indexOf('{');
  const end = key.indexOf('}', start);
  return start >= 0 && end > start + 1 ? key.slice(start + 1, end) : key;
}

const shard = fc.integer({ min: 0, max: 63 });

/** One key: what it is for, and what it is named by. */
type Named = [kind: string, ...parts: string[]];
const named: fc.Arbitrary<Named> = fc.oneof(
  fc.constantFrom<Named>(['layout'], ['topics'], ['announce'], ['subscriptions'], ['floors'], ['cancelled']),
  fc.tuple(fc.constant('topic'), text) as fc.Arbitrary<Named>,
  fc.tuple(
    fc.constantFrom('inbox', 'instances', 'leases', 'sweep', 'control', 'dead'),
    name,
  ) as fc.Arbitrary<Named>,
  fc.tuple(fc.constant('lease'), name, wireId) as fc.Arbitrary<Named>,
  fc.tuple(fc.constant('replies'), wireId) as fc.Arbitrary<Named>,
);

const makers: Record<string, (keys: Keys, a: string, b: string) => string> = {
  layout: (keys) => keys.layout,
  topics: (keys) => keys.topics,
  announce: (keys) => keys.announce,
  subscriptions: (keys) => keys.subscriptions,
  floors: (keys) => keys.floors,
  cancelled: (keys) => keys.cancelled,
  topic: (keys, pattern) => keys.topic(pattern),
  inbox: (keys, service) => keys.inbox(service),
  instances: (keys, service) => keys.instances(service),
  leases: (keys, service) => keys.leases(service),
  sweep: (keys, service) => keys.sweep(service),
  control: (keys, service) => keys.control(service),
  dead: (keys, service) => keys.dead(service),
  lease: (keys, service, instance) => keys.lease(service, instance),
  replies: (keys, client) => keys.replies(client),
};

function keyOf(keys: Keys, [kind, a = '', b = '']: Named): string {
  return makers[kind]!(keys, a, b);
}

test('whatever a pattern or a service is called, its keys lie in the slot of its namespace and shard', () => {
  const sharded = named.filter(([kind]) => kind !== 'replies');
  fc.assert(
    fc.property(name, shard, sharded, (namespace, number, key) => {
      expect(tagOf(keyOf(new Keys(namespace, number), key))).toBe(`${namespace}:${number}`);
    }),
    { numRuns: 500 },
  );
});

test('no key is outside its namespace', () => {
  fc.assert(
    fc.property(name, shard, named, (namespace, number, key) => {
      const written = keyOf(new Keys(namespace, number), key);
      const [kind] = key;
      expect(
        kind === 'replies'
          ? written.startsWith(`${namespace}:replies:`)
          : written.startsWith(`{${namespace}:${number}}:`) || written.startsWith(`{${namespace}:0}:`),
      ).toBe(true);
    }),
  );
});

test('different things have different keys, in one namespace and in two', () => {
  fc.assert(
    fc.property(fc.tuple(name, shard, named), fc.tuple(name, shard, named), (one, other) => {
      const [key, otherKey] = [one, other].map(([namespace, number, of]) =>
        keyOf(new Keys(namespace, number), of),
      );
      expect(key === otherKey).toBe(identityOf(one) === identityOf(other));
    }),
    { numRuns: 500 },
  );
});

/** Two keys are the same exactly when this is. Prefixes of leases are no keys, and end in what no lease ends in. */
function identityOf([namespace, number, key]: [string, number, Named]): string {
  // All shards have the layout, the topics and their news for themselves; only reply streams lie in none.
  return JSON.stringify([namespace, key[0] === 'replies' ? 0 : number, ...key]);
}

test('names that share their letters do not share their keys', () => {
  const part = fc.constantFrom('', 'a', 'b', ':', 'a:', ':a', 'inbox:a', 'lease:a', '0', ' ', '\n', '\0');
  const near = fc.tuple(part, part, part).map((parts) => parts.join(''));
  fc.assert(
    fc.property(near, near, wireId, wireId, (a, b, instance, other) => {
      const keys = new Keys('ns');
      expect(keys.topic(a) === keys.topic(b)).toBe(a === b);
      expect(keys.inbox(a) === keys.topic(b)).toBe(false);
      expect(new Keys(a).replies(instance) === new Keys(b).replies(other)).toBe(
        a === b && instance === other,
      );
      expect(new Keys(a).topic(b) === new Keys(b).topic(a)).toBe(a === b);
    }),
    { numRuns: 1000 },
  );
});

test('two instances share no lease, wherever the name of the service ends', () => {
  const service = fc.constantFrom('a', 'ab', 'aba', 'a:', 'a:b', 'b');
  const instance = fc.constantFrom('a', 'b', 'ab', 'ba', 'aa', '-');
  fc.assert(
    fc.property(service, instance, service, instance, (a, one, b, other) => {
      const keys = new Keys('ns');
      expect(keys.lease(a, one) === keys.lease(b, other)).toBe(a === b && one === other);
    }),
    { numRuns: 500 },
  );
});

test('a wire id is 1 to 64 characters that mean nothing in a key or a frame', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        text,
        wireId,
        wireId.map((id) => `${id}\n`),
      ),
      (value) => {
        const isOne =
          value.length >= 1 && value.length <= 64 && [...value].every((char) => /[A-Za-z0-9_-]/.test(char));
        expect(isWireId(value)).toBe(isOne);
      },
    ),
    { numRuns: 300 },
  );
});

test('random ids and sequences of them are wire ids, and never the same', () => {
  fc.assert(
    fc.property(fc.integer({ min: 9, max: 48 }), fc.integer({ min: 1, max: 50 }), (bytes, count) => {
      const ids = Array.from({ length: count }, () => randomId(bytes));
      const sequence = new IdSequence(randomId());
      ids.push(...Array.from({ length: count }, () => sequence.next()));
      expect(ids.every(isWireId)).toBe(true);
      expect(new Set(ids).size).toBe(2 * count);
    }),
    { numRuns: 50 },
  );
});
