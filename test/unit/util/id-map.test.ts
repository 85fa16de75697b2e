import { expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { IdMap } from '../../../lib/util/id-map.js';

test('what was added is there until it is deleted', () => {
  const map = new IdMap<number>();
  expect(map.add('a', 1)).toBe(true);
  expect([map.get('a'), map.has('a'), map.size]).toEqual([1, true, 1]);
  map.delete('a');
  expect([map.get('a'), map.has('a'), map.size]).toEqual([undefined, false, 0]);
  map.delete('a');
  expect(map.size).toBe(0);
});

test('an id that is there keeps its value', () => {
  const map = new IdMap<number>();
  map.add('a', 1);
  expect(map.add('a', 2)).toBe(false);
  expect(map.get('a')).toBe(1);
});

test('it grows, and finds everything again', () => {
  const map = new IdMap<number>();
  for (let i = 0; i < 10_000; i++) {
    map.add(`1732233445566-${i}`, i);
  }
  expect(map.size).toBe(10_000);
  for (let i = 0; i < 10_000; i++) {
    expect(map.get(`1732233445566-${i}`)).toBe(i);
  }
  expect(map.values().sort((a, b) => a - b)).toEqual(Array.from({ length: 10_000 }, (_, i) => i));
});

test('ids that follow each other lie apart, however many there are', () => {
  const map = new IdMap<number>();
  const started = process.cpuUsage();
  for (let i = 0; i < 400_000; i++) {
    map.add(`aBcDeFgHiJkL-${i.toString(36)}`, i);
  }
  for (let i = 0; i < 400_000; i++) {
    map.delete(`aBcDeFgHiJkL-${i.toString(36)}`);
  }
  expect(map.size).toBe(0);
  // A second at the most; with places that do not grow with the table it is hours.
  expect(process.cpuUsage(started).user / 1e6).toBeLessThan(10);
});

test('does what a Map does, whatever the ids, also those that hash alike', () => {
  // Only the end of an id is hashed: with a few ends and many beginnings, most of them collide.
  const id = fc
    .tuple(fc.constantFrom('', 'x', 'yy', 'zzz'), fc.constantFrom('00000000', '00000001', 'a', ''))
    .map(([start, end]) => start + end);
  const step = fc.tuple(
    fc.constantFrom('add', 'delete'),
    fc.oneof(id, fc.string({ maxLength: 12 })),
    fc.nat(),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const map = new IdMap<number>();
      const model = new Map<string, number>();
      for (const [what, key, value] of steps) {
        if (what === 'add') {
          expect(map.add(key, value)).toBe(!model.has(key));
          model.set(key, model.get(key) ?? value);
        } else {
          map.delete(key);
          model.delete(key);
        }
      }
      expect(map.size).toBe(model.size);
      expect(map.values().sort()).toEqual([...model.values()].sort());
      for (const [key, value] of model) {
        expect(map.get(key)).toBe(value);
      }
    }),
  );
});
