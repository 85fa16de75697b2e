import { isDeepStrictEqual } from 'node:util';
import { checkTrimmed } from './account.js';
import { GroupModel } from './group-model.js';
import {
  ORPHANS,
  ORPHANS_ALONE,
  ORPHANS_WAITING,
  SUSPECTS,
  WAITING,
  type Held,
  type OrphanKind,
  type StreamSystem,
} from './stream-system.js';

/** How often an entry may be delivered before it is a dead letter. */
const MAX_DELIVERIES = 5;

/** Takes one of a list; `undefined` of an empty one. */
type Pick = <T>(list: readonly T[]) => T | undefined;

/** One operation: whom and what it takes of that which there is, what the model makes of it, what the system does. */
export interface Operation<Subject> {
  name: string;
  /** `undefined` where there is nothing that it could be done to. */
  choose(model: GroupModel, pick: Pick): Subject | undefined;
  run(model: GroupModel, system: StreamSystem, subject: Subject): Promise<void>;
}

/** Fails where system and model answer differently. */
function mustEqual(found: unknown, expected: unknown, what: string): void {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Error(`${what}: ${JSON.stringify(found)}, and should be ${JSON.stringify(expected)}`);
  }
}

function nextInstance(model: GroupModel): string {
  return `i${model.instances.size + 1}`;
}

function anyInstance(model: GroupModel, pick: Pick): string | undefined {
  return pick(model.instancesThatAre('alive'));
}

/** What an instance believes to be running there, whether or not it still owns it. */
function running(model: GroupModel): Held[] {
  return model.held.filter(({ consumer }) => !consumer.endsWith(WAITING));
}

/** Another instance begins to live. */
export const join: Operation<string> = {
  name: 'join',
  choose: nextInstance,
  async run(model, system, instance) {
    model.join(instance);
    await system.join(instance);
  },
};

/** An entry is added. */
export const publish: Operation<true> = {
  name: 'publish',
  choose: () => true,
  async run(model, system) {
    model.publish(await system.publish());
  },
};

/** An instance reads up to so many new entries. */
export function read(count: number): Operation<string> {
  return {
    name: `read ${count}`,
    choose: anyInstance,
    async run(model, system, instance) {
      mustEqual(await system.read(instance, count), model.read(instance, count), `${instance} was given`);
    },
  };
}

/**
 * Redis serves a read that an instance had sent before it died or was stopped. Whoever forgets an instance must have
 * waited until there can be none: what it was given after that would be nobody's.
 */
export const lateRead: Operation<string> = {
  ...read(1),
  name: 'lateRead',
  choose: (model, pick) => pick(model.instancesThatAre('dead')),
};

/** An entry has been handled. */
export const acknowledge: Operation<Held> = {
  name: 'acknowledge',
  // The plain XACK of an instance that has lost an entry is what fencing is there to prevent.
  choose: (model, pick) => pick(running(model).filter((held) => model.owns(held))),
  async run(model, system, held) {
    model.acknowledge(held);
    await system.acknowledge(held);
  },
};

/** Also tried by those that have lost the entry meanwhile: nothing may come of it. */
function checked(
  name: 'retry' | 'startDue' | 'deadLetter',
  candidates: (model: GroupModel) => Held[],
): Operation<Held> {
  return {
    name,
    choose: (model, pick) => pick(candidates(model)),
    async run(model, system, held) {
      mustEqual(await system[name](held), model[name](held), `${name} of ${held.id} was done`);
    },
  };
}

/** An entry failed, and waits for its next delivery. */
export const retry = checked('retry', running);
/** An entry is given up. */
export const deadLetter = checked('deadLetter', running);
/** An entry has waited long enough. */
export const startDue = checked('startDue', ({ held }) =>
  held.filter(({ consumer }) => consumer.endsWith(WAITING)),
);

/** An instance dies, or is taken for dead. */
export const crash: Operation<string> = {
  name: 'crash',
  choose: anyInstance,
  async run(model, system, instance) {
    model.crash(instance);
    await system.crash(instance);
  },
};

/** Stopped, and continued when others may have taken what it had. */
export const comeBack: Operation<string> = {
  name: 'comeBack',
  choose: (model, pick) => pick(model.instancesThatAre('dead', 'forgotten')),
  async run(model, system, instance) {
    model.join(instance);
    await system.join(instance);
  },
};

/** What dead instances hold is made free to be taken. */
export const sweep: Operation<true> = {
  name: 'sweep',
  choose: () => true,
  async run(model, system) {
    model.sweep();
    await system.sweep();
  },
};

/** An instance takes up to so many orphans of a kind. */
export function take(kind: OrphanKind, count: number): Operation<string> {
  return {
    name: `take ${count} of '${kind}'`,
    choose: (model, pick) =>
      model.pendingFor(kind).length > 0 ? pick(model.instancesThatAre('alive')) : undefined,
    async run(model, system, instance) {
      const taken = model.take(instance, kind, count);
      mustEqual(await system.take(instance, kind, count), taken, `${instance} took`);
      if (kind === SUSPECTS) {
        await buryExhausted(model, system, taken);
      }
    },
  };
}

/** What ran alone and has used up its deliveries is not run again. */
async function buryExhausted(
  model: GroupModel,
  system: StreamSystem,
  taken: readonly string[],
): Promise<void> {
  for (const id of taken) {
    const held = model.held.findLast((candidate) => candidate.id === id)!;
    if (model.entry(id).deliveries > MAX_DELIVERIES) {
      await deadLetter.run(model, system, held);
    }
  }
}

/** Instances that are dead and hold nothing are forgotten. */
export const retire: Operation<true> = {
  name: 'retire',
  choose: () => true,
  async run(model, system) {
    model.retire();
    await system.retire();
  },
};

/**
 * An instance dies, is found dead, and another is started that takes what there is to take. Were these done one by one
 * only, an entry would seldom die more than once.
 */
export const replace: Operation<string> = {
  name: 'replace',
  choose: anyInstance,
  async run(model, system, instance) {
    const next = nextInstance(model);
    await crash.run(model, system, instance);
    await sweep.run(model, system, true);
    await join.run(model, system, next);
    for (const kind of [ORPHANS, ORPHANS_ALONE, SUSPECTS, ORPHANS_WAITING] as const) {
      await take(kind, 2).run(model, system, next);
    }
  },
};

/** An instance closes, and hands over what it holds. */
export const leave: Operation<string> = {
  name: 'leave',
  choose: anyInstance,
  async run(model, system, instance) {
    model.leave(instance);
    await system.leave(instance);
  },
};

/** What nobody needs is removed. */
export const trim: Operation<true> = {
  name: 'trim',
  choose: () => true,
  async run(model, system) {
    await system.trim();
    checkTrimmed(model, await system.snapshot());
  },
};

/** A model and an empty system to begin with: two instances, and some entries. */
export async function setUp(real: StreamSystem): Promise<{ model: GroupModel; real: StreamSystem }> {
  const model = new GroupModel();
  for (const operation of [join, join]) {
    await operation.run(model, real, nextInstance(model));
  }
  for (let i = 0; i < 4; i++) {
    await publish.run(model, real, true);
  }
  return { model, real };
}
