import { describe, expect, test } from '@jest/globals';
import { isWildcard, means, subscriptionFault } from '../../../lib/protocol/wildcard.js';

const MATCHES: [pattern: string, topic: string, isMeant: boolean][] = [
  ['orders.*', 'orders.created', true],
  ['orders.*', 'orders', false],
  ['orders.*', 'orders.created.eu', false],
  ['orders.*', 'orders.', true],
  ['orders.*.eu', 'orders.created.eu', true],
  ['orders.*.eu', 'orders.created.us', false],
  ['*.created', 'orders.created', true],
  ['*', 'orders', true],
  ['*', 'orders.created', false],
  ['*.*', 'orders.created', true],
  ['orders.>', 'orders.created', true],
  ['orders.>', 'orders.created.eu', true],
  ['orders.>', 'orders', false],
  ['orders.>', 'ordersx.created', false],
  ['*.eu.>', 'orders.eu.created.late', true],
  ['>', 'orders', true],
  ['>', 'orders.created.eu', true],
  ['>', '', true],
  ['orders', 'orders', true],
  ['orders.created', 'orders.paid', false],
  ['orders.*', 'orders.*', true],
  // What was an object has no segments.
  ['>', '{"cmd":"a.b"}', false],
  ['*.*', '{"cmd":"a.b"}', false],
  ['{"cmd":"*"}', '{"cmd":"*"}', true],
  ['{"a":".*."}', '{"a":".x."}', false],
  // A dot is a dot.
  ['a.*', 'aXb', false],
  ['a.*.c', 'a.b.b.c', false],
];

test.each(MATCHES)("whether '%s' means '%s': %s", (pattern, topic, isMeant) => {
  expect(means(pattern, topic)).toBe(isMeant);
});

test.each([
  ['orders.*', true],
  ['*', true],
  ['>', true],
  ['orders.>', true],
  ['a.*.>', true],
  ['orders', false],
  ['orders.created', false],
  ['a->b', false],
  ['{"a":"*"}', false],
  ['{"a":".*."}', false],
  ['{x}.*', false],
  ['a.>.b', false],
  ['', false],
])("whether '%s' is a wildcard: %s", (pattern, is) => {
  expect(isWildcard(pattern)).toBe(is);
});

describe('what a handler may subscribe to', () => {
  test.each(['orders', 'orders.*', 'orders.>', '*', '>', '*.*.>', 'a->b', 'a.b>', '', '{"cmd":"x"}', '..'])(
    "'%s' is fine",
    (pattern) => expect(subscriptionFault(pattern, true)).toBeUndefined(),
  );

  test.each([
    ['orders*', "has '*' within a segment"],
    ['orders.*created', "has '*' within a segment"],
    ['**', "has '*' within a segment"],
    ['orders.>.created', "has the segment '>' before its end"],
    ['>.>', "has the segment '>' before its end"],
    ['{region}.*', "begins with '{'"],
    ['{"a":".>."}', "begins with '{'"],
  ])("'%s' is refused, since it %s", (pattern, fault) => {
    expect(subscriptionFault(pattern, true)).toContain(fault);
  });

  test('what was an object may hold anything', () => {
    expect(subscriptionFault('{"a":".*.x*."}', false)).toBeUndefined();
  });
});
