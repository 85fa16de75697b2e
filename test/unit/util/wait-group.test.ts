import { expect, test } from '@jest/globals';
import { WaitGroup } from '../../../lib/util/wait-group.js';

test('whoever waits goes on when nothing is under way', async () => {
  const group = new WaitGroup();
  expect([group.isIdle, group.wait()]).toEqual([true, undefined]);
  group.add();
  group.add(2);
  let hasGoneOn = false;
  const waiting = group.wait()!.then(() => (hasGoneOn = true));
  group.done(2);
  await Promise.resolve();
  expect([group.isIdle, hasGoneOn]).toEqual([false, false]);
  group.done();
  await waiting;
  expect([group.isIdle, group.wait()]).toEqual([true, undefined]);
});
