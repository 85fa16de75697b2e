import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { closeAll } from '../support/app.js';
import { Caller, count, INBOX, TaskKeys, TaskService, tell, type Supervisor } from '../support/tasks.js';
import { eventually } from '../support/wait.js';

const LEASE = 400;
/** In flight beside what kills the process, each time. */
const NEIGHBOURS = 100;

let service: TaskService;
let keys: TaskKeys;
let caller: Caller;
beforeAll(async () => {
  service = await TaskService.make();
});
beforeEach(async () => {
  keys = await TaskKeys.empty(service.redis.url);
  caller = await Caller.make(keys.redis);
});
afterEach(closeAll);
afterAll(() => service.remove());

/** Requests that take so long that they run when their neighbour dies. @returns their ids */
const neighbours = (): Promise<string[]> =>
  Promise.all(
    Array.from({ length: NEIGHBOURS }, (_, i) => caller.ask({ name: `beside${i}.`, then: 'end', ms: 200 })),
  );

/** The deliveries that handlers have seen of a message. */
function deliveriesOf({ output }: Supervisor, name: string): number[] {
  return [...output.matchAll(new RegExp(`started ${name} (\\d+)`, 'g'))].map(([, n]) => Number(n)).sort();
}

test.each<[string, number, number[]]>([
  ['five times, as it is by default,', 5, [1, 2, 3, 4, 5]],
  // The first time it was one of many, and nobody can know which of them it was.
  ['once, and once more alone,', 1, [1, 2]],
])(
  'a request and an event that kill %s are dead letters, their neighbours are all handled, and the caller gets an error',
  async (_, maxDeliveries, expected) => {
    const retry = maxDeliveries === 5 ? {} : { retry: { maxDeliveries } };
    const instances = await service.supervised(2, { lease: LEASE, ...retry });
    const asked: string[] = [];
    const killer = await caller.ask({ name: 'killer', then: 'die', ms: 100 });
    await tell(keys.redis, { name: 'killing-event', then: 'die', ms: 150 });
    asked.push(...(await neighbours()));
    // More of them each time that it is started.
    for (let deaths = 1; deaths < expected.length; deaths++) {
      await eventually(() => deliveriesOf(instances, 'killer').length > deaths, 'the next delivery', 15_000);
      asked.push(...(await neighbours()));
    }
    const answer = await caller.answer(killer, 15_000);
    expect(answer).toMatchObject({ kind: 'e', payload: { code: 'DELIVERIES_EXHAUSTED' } });
    for (const request of asked) {
      await expect(caller.answer(request, 10_000)).resolves.toMatchObject({ kind: 'v' });
    }
    await keys.nothingPending(15_000);
    expect(deliveriesOf(instances, 'killer')).toEqual(expected);
    expect(deliveriesOf(instances, 'killing-event')).toEqual(expected);
    const dead = await keys.deadLetters();
    expect(
      dead.map(({ 'dead-reason': reason, 'dead-deliveries': deliveries, data }) => ({
        reason,
        deliveries: Number(deliveries),
        name: (JSON.parse(data!) as { name: string }).name,
      })),
    ).toEqual(
      expect.arrayContaining(
        ['killer', 'killing-event'].map((name) => ({
          reason: 'exhausted',
          deliveries: expected.length,
          name,
        })),
      ),
    );
    expect(dead).toHaveLength(2);
    expect(count(instances.output, 'hook deadLettered')).toBe(2);
  },
  60_000,
);

test('an entry that runs alone for long does not keep its instance from serving', async () => {
  const request = await caller.ask({ name: 'long', then: 'hang' });
  for (const delivery of [1, 2]) {
    const victim = await service.instance({ lease: LEASE });
    await victim.says(`started long ${delivery}`);
    await victim.end('SIGKILL');
  }
  const instance = await service.instance({ lease: LEASE });
  await instance.says('started long 3');
  const next = await caller.ask({ name: 'next', then: 'end' });
  await expect(caller.answer(next)).resolves.toMatchObject({ kind: 'v' });
  // It runs alone all the same: should it kill its instance now, it is known to have done so.
  await eventually(
    async () => Object.keys(await keys.owners(INBOX)).every((name) => name.endsWith('~alone')),
    'the other to be settled',
  );
  await expect(caller.answers(request)).resolves.toEqual([]);
});
