import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isWildcard, means, subscriptionFault } from '../../../lib/protocol/wildcard.js';

const word = fc.constantFrom(
  'a',
  'b',
  'orders',
  '',
  'x-y',
  'é',
  '[',
  '(',
  '\\',
  '^',
  '$',
  '+',
  '%',
  'a\nb',
  '*',
  '>',
);
const plain = word.filter((one) => one !== '*' && one !== '>');
const topic = fc.array(plain, { minLength: 1, maxLength: 5 }).map((words) => words.join('.'));
const wildcard = fc
  .tuple(fc.array(plain.map(String), { minLength: 1, maxLength: 5 }), fc.array(fc.boolean()), fc.boolean())
  .map(([words, stars, isOpen]) => {
    const segments = words.map((one, i) => (stars[i] ? '*' : one));
    return [...segments, ...(isOpen ? ['>'] : [])].join('.');
  });

/** The rules once more, as a regular expression. */
function model(pattern: string, name: string): boolean {
  const parts = pattern.split('.').map((segment, i, all) => {
    if (segment === '*') {
      return '[^.]*';
    }
    return segment === '>' && i === all.length - 1
      ? '[^]*'
      : segment.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
  });
  return new RegExp(`^${parts.join(String.raw`\.`)}$`, 'u').test(name);
}

test('what a subscription means is what the regular expression of its segments does', () => {
  fc.assert(
    fc.property(wildcard, topic, (pattern, name) => {
      expect(means(pattern, name)).toBe(model(pattern, name));
    }),
    { numRuns: 2_000 },
  );
});

test('a topic is meant by itself, by itself with any of its segments replaced, and by all of its beginnings', () => {
  fc.assert(
    fc.property(topic, fc.nat(4), (name, at) => {
      const segments = name.split('.');
      const place = at % segments.length;
      expect(means(name, name)).toBe(true);
      expect(means(segments.with(place, '*').join('.'), name)).toBe(true);
      expect(means([...segments.slice(0, place), '>'].join('.'), name)).toBe(true);
    }),
  );
});

test('what a handler may subscribe to and holds neither sign as a segment means itself alone', () => {
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 5 }), topic, (words, name) => {
      const pattern = words.join('.');
      if (subscriptionFault(pattern, true) === undefined && !isWildcard(pattern)) {
        expect(means(pattern, name)).toBe(pattern === name);
      }
    }),
  );
});
