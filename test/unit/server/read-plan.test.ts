import { expect, test } from '@jest/globals';
import type { StreamBatch } from '../../../lib/redis/replies.js';
import { ReadPlan } from '../../../lib/server/read-plan.js';

const STREAMS = ['a', 'b', 'c', 'd'];
const batch = (stream: string, count: number): StreamBatch => ({
  stream,
  entries: Array.from({ length: count }, (_, i) => ({ id: `${i}-0`, fields: [] })),
});

test('all streams share what room there is, and a read of them waits', () => {
  expect(new ReadPlan().next(STREAMS, 8, 0)).toEqual({ streams: STREAMS, count: 2, blocks: true });
  expect(new ReadPlan().next(STREAMS, 3, 0)).toEqual({ streams: STREAMS, count: 1, blocks: true });
});

test('one that gave all it was asked for is read by itself, without waiting, until it gives nothing', () => {
  const plan = new ReadPlan();
  plan.next(STREAMS, 8, 0);
  plan.took([batch('b', 2), batch('c', 1)]);
  expect(plan.next(STREAMS, 8, 1)).toEqual({ streams: ['b'], count: 8, blocks: false });
  plan.took([batch('b', 3)]);
  expect(plan.next(STREAMS, 5, 2)).toEqual({ streams: ['b'], count: 5, blocks: false });
  expect(plan.next(STREAMS, 8, 3)).toEqual({ streams: STREAMS, count: 2, blocks: true });
});

test('the others have their turn after a while, however much there is', () => {
  const plan = new ReadPlan();
  plan.next(STREAMS, 8, 100);
  plan.took([batch('a', 2)]);
  expect(plan.next(STREAMS, 8, 109.9).streams).toEqual(['a']);
  plan.took([batch('a', 8)]);
  expect(plan.next(STREAMS, 8, 110)).toEqual({ streams: STREAMS, count: 2, blocks: true });
});

test('where most of them are busy all are read', () => {
  const plan = new ReadPlan();
  plan.next(STREAMS, 8, 0);
  plan.took([batch('a', 2), batch('b', 2), batch('d', 2)]);
  expect(plan.next(STREAMS, 8, 1).streams).toEqual(STREAMS);
  const single = new ReadPlan();
  single.next(['a'], 8, 0);
  single.took([batch('a', 8)]);
  expect(single.next(['a'], 8, 1)).toEqual({ streams: ['a'], count: 8, blocks: true });
});
