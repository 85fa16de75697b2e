import { expect, test } from '@jest/globals';
import { openDelivery, type Delivery } from '../../../lib/server/delivery.js';
import { Lane, type Start } from '../../../lib/server/lane.js';

function delivery(id: string): Delivery {
  return openDelivery('topic', id, [Buffer.from('pattern'), Buffer.from('p')], false);
}

/** A lane with these many slots, and what it has done. */
function lane(limit: number) {
  const started: string[] = [];
  const freeAtRoom: number[] = [];
  const created = new Lane(limit, () => freeAtRoom.push(created.free));
  const start: Start = ({ id }, itself) => {
    expect(itself).toBe(created);
    started.push(id);
  };
  return { lane: created, started, freeAtRoom, push: (one: Delivery): void => created.push(one, start) };
}

test('what there is a slot for starts at once, the rest in its order', () => {
  const { lane: own, started, push } = lane(2);
  ['1', '2', '3', '4'].forEach((id) => push(delivery(id)));
  expect(started).toEqual(['1', '2']);
  expect(own.free).toBe(0);
  own.release();
  expect(started).toEqual(['1', '2', '3']);
  own.release();
  expect(started).toEqual(['1', '2', '3', '4']);
});

test('there is room only when nothing waits for it', () => {
  const { lane: own, freeAtRoom, push } = lane(1);
  push(delivery('1'));
  push(delivery('2'));
  own.release();
  expect(freeAtRoom).toEqual([]);
  own.release();
  expect(freeAtRoom).toEqual([1]);
});

test('what was lost while it waited is not started, and takes no slot', () => {
  const { lane: own, started, push } = lane(1);
  const lost = delivery('2');
  [delivery('1'), lost, delivery('3')].forEach((each) => push(each));
  lost.isLost = true;
  own.release();
  expect(started).toEqual(['1', '3']);
  own.release();
  expect(own.isIdle).toBe(true);
});

test('dropping what is lost makes room', () => {
  const { lane: own, started, push } = lane(2);
  const waiting = [delivery('3'), delivery('4')];
  [delivery('1'), delivery('2'), ...waiting].forEach((each) => push(each));
  waiting.forEach((each) => (each.isLost = true));
  own.dropLost();
  own.release();
  expect(started).toEqual(['1', '2']);
  expect(own.free).toBe(1);
});

test('a paused lane starts nothing, and goes on in its order', () => {
  const { lane: own, started, freeAtRoom, push } = lane(2);
  push(delivery('1'));
  own.pause();
  push(delivery('2'));
  push(delivery('3'));
  expect(own.free).toBe(0);
  own.release();
  expect(own.isIdle).toBe(true);
  expect(started).toEqual(['1']);
  expect(freeAtRoom).toEqual([]);
  own.resume();
  expect(started).toEqual(['1', '2', '3']);
});

test('it is idle when nothing is handled, whatever waits', async () => {
  const { lane: own, started, push } = lane(1);
  await own.whenIdle();
  push(delivery('1'));
  push(delivery('2'));
  expect(own.isIdle).toBe(false);
  own.clear();
  const idle = own.whenIdle();
  own.release();
  await idle;
  expect(started).toEqual(['1']);
  expect(own.whenFree()).toBeUndefined();
});

test('who waits for a slot is told of one', async () => {
  const { lane: own, push } = lane(1);
  push(delivery('1'));
  const free = own.whenFree();
  expect(free).toBeInstanceOf(Promise);
  own.release();
  await free;
});
