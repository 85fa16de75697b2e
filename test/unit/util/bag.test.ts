import { expect, test } from '@jest/globals';
import { Bag, type Bagged } from '../../../lib/util/bag.js';

const item = (): Bagged => ({ place: 0 });

test('holds what was added, without what was removed', () => {
  const bag = new Bag<Bagged>();
  const items = [item(), item(), item(), item()] as const;
  for (const one of items) {
    bag.add(one);
  }
  bag.remove(items[1]);
  bag.remove(items[3]);
  expect(new Set(bag)).toEqual(new Set([items[0], items[2]]));
  bag.remove(items[0]);
  bag.remove(items[2]);
  expect([...bag]).toEqual([]);
});

test('may lose items while it is gone through', () => {
  const bag = new Bag<Bagged>();
  const items = [item(), item(), item()];
  for (const one of items) {
    bag.add(one);
  }
  const seen: Bagged[] = [];
  for (const one of bag) {
    bag.remove(one);
    seen.push(one);
  }
  expect(seen).toHaveLength(3);
  expect([...bag]).toEqual([]);
});
