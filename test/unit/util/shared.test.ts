import { setImmediate as settle } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { ConnectionClosedError } from '../../../lib/errors.js';
import { Shared } from '../../../lib/util/shared.js';
import { deferred } from '../../support/wait.js';

/** Writes down what is asked of it; a start lasts until it is told to end. */
class Recorded extends Shared {
  readonly log: string[] = [];
  readonly starts: { succeed: () => void; fail: (error: Error) => void }[] = [];

  protected async start(): Promise<void> {
    const name = `start ${this.starts.length + 1}`;
    this.log.push(name);
    const { promise, resolve } = deferred<Error | undefined>();
    this.starts.push({ succeed: () => resolve(undefined), fail: resolve });
    const error = await promise;
    this.log.push(`${name} ${error ? 'failed' : 'done'}`);
    if (error) {
      throw error;
    }
  }

  protected stop(): void {
    this.log.push('stop');
  }
}

/** Started, for one user. */
async function started() {
  const shared = new Recorded();
  const usage = shared.use();
  shared.starts[0]!.succeed();
  await usage.ready;
  shared.log.length = 0;
  return { shared, usage };
}

const noRedis = new Error('no Redis');

describe('counting', () => {
  test('it starts with the first and stops with the last', async () => {
    const shared = new Recorded();
    const usages = [shared.use(), shared.use()];
    shared.starts[0]!.succeed();
    await Promise.all(usages.map(({ ready }) => ready));
    usages.push(shared.use());
    await usages[2]!.ready;
    usages[0]!.release();
    usages[1]!.release();
    expect(shared.log).toEqual(['start 1', 'start 1 done']);
    usages[2]!.release();
    expect(shared.log).toEqual(['start 1', 'start 1 done', 'stop']);
  });

  test('nobody is let in before it has started', async () => {
    const shared = new Recorded();
    const order: string[] = [];
    const usages = [1, 2].map((n) => shared.use().ready.then(() => order.push(`user ${n}`)));
    await settle();
    order.push('started');
    shared.starts[0]!.succeed();
    await Promise.all(usages);
    expect(order).toEqual(['started', 'user 1', 'user 2']);
  });

  test('it starts anew for who comes after the last has left', async () => {
    const { shared, usage } = await started();
    usage.release();
    const again = shared.use();
    shared.starts[1]!.succeed();
    await again.ready;
    expect(shared.log).toEqual(['stop', 'start 2', 'start 2 done']);
  });

  test('a user who releases twice counts once', async () => {
    const { shared, usage } = await started();
    const other = shared.use();
    await other.ready;
    usage.release();
    usage.release();
    expect(shared.log).toEqual([]);
    other.release();
    usage.release();
    expect(shared.log).toEqual(['stop']);
  });
});

describe('a start that fails', () => {
  test('fails for all who wait, and what it left half-done is stopped once', async () => {
    const shared = new Recorded();
    const usages = [shared.use(), shared.use()];
    const outcomes = Promise.allSettled(usages.map(({ ready }) => ready));
    shared.starts[0]!.fail(noRedis);
    expect(await outcomes).toEqual([
      { status: 'rejected', reason: noRedis },
      { status: 'rejected', reason: noRedis },
    ]);
    expect(shared.log).toEqual(['start 1', 'start 1 failed', 'stop']);
  });

  test('counts nobody in: the next user starts it anew and is the only one', async () => {
    const shared = new Recorded();
    const first = shared.use();
    shared.starts[0]!.fail(noRedis);
    await expect(first.ready).rejects.toBe(noRedis);
    first.release();
    const second = shared.use();
    shared.starts[1]!.succeed();
    await second.ready;
    shared.log.length = 0;
    first.release();
    second.release();
    expect(shared.log).toEqual(['stop']);
  });
});

describe('who leaves while it starts', () => {
  test('is told so, and not let in', async () => {
    const shared = new Recorded();
    const usage = shared.use();
    const outcome = expect(usage.ready).rejects.toBeInstanceOf(ConnectionClosedError);
    usage.release();
    shared.starts[0]!.succeed();
    await outcome;
  });

  test('does not disturb the others', async () => {
    const shared = new Recorded();
    const [first, second] = [shared.use(), shared.use()];
    const outcome = expect(first.ready).rejects.toBeInstanceOf(ConnectionClosedError);
    first.release();
    shared.starts[0]!.succeed();
    await Promise.all([outcome, second.ready]);
    expect(shared.log).toEqual(['start 1', 'start 1 done']);
  });

  test('and is the last: it is stopped at once, and again when the start has ended', async () => {
    const shared = new Recorded();
    const usage = shared.use();
    const outcome = expect(usage.ready).rejects.toBeInstanceOf(ConnectionClosedError);
    usage.release();
    expect(shared.log).toEqual(['start 1', 'stop']);
    shared.starts[0]!.succeed();
    await outcome;
    expect(shared.log).toEqual(['start 1', 'stop', 'start 1 done', 'stop']);
  });

  test('hears of its failure, and the next user starts it anew', async () => {
    const shared = new Recorded();
    const first = shared.use();
    const outcome = expect(first.ready).rejects.toBe(noRedis);
    first.release();
    shared.starts[0]!.fail(noRedis);
    await outcome;
    const second = shared.use();
    shared.starts[1]!.succeed();
    await second.ready;
    shared.log.length = 0;
    second.release();
    expect(shared.log).toEqual(['stop']);
  });
});

describe('who comes while a start that nobody waits for any more comes to its end', () => {
  test('gets a start of his own, which the failure of the other does not undo', async () => {
    const shared = new Recorded();
    const first = shared.use();
    const outcome = expect(first.ready).rejects.toBe(noRedis);
    first.release();
    const second = shared.use();
    shared.starts[0]!.fail(noRedis);
    await outcome;
    shared.starts[1]!.succeed();
    await second.ready;
    const third = shared.use();
    await settle();
    expect(shared.starts).toHaveLength(2);
    await third.ready;
    shared.log.length = 0;
    second.release();
    expect(shared.log).toEqual([]);
    third.release();
    expect(shared.log).toEqual(['stop']);
  });

  test('is not stopped by the success of the other', async () => {
    const shared = new Recorded();
    const first = shared.use();
    const outcome = expect(first.ready).rejects.toBeInstanceOf(ConnectionClosedError);
    first.release();
    const second = shared.use();
    shared.starts[1]!.succeed();
    await second.ready;
    shared.log.length = 0;
    shared.starts[0]!.succeed();
    await outcome;
    expect(shared.log).toEqual(['start 1 done']);
  });
});
