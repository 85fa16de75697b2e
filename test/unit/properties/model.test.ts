import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { streamCommands } from '../../support/model/commands.js';
import { MemorySystem } from '../../support/model/memory-system.js';
import { setUp } from '../../support/model/operations.js';
import type { Held, StreamSnapshot, StreamSystem } from '../../support/model/stream-system.js';

/** Runs random lists of operations; fails with the shortest list that goes wrong. */
function run(makeSystem: () => StreamSystem, numRuns: number): Promise<void> {
  return fc.assert(
    fc.asyncProperty(streamCommands(100), (commands) =>
      fc.asyncModelRun(() => setUp(makeSystem()), commands),
    ),
    { numRuns },
  );
}

/** Systems that each do one thing wrong, as a script might. */
const faulty: Record<string, new () => MemorySystem> = {
  'that acknowledges nothing': class extends MemorySystem {
    override acknowledge = () => Promise.resolve();
  },
  'that leaves behind what waited when an instance died': class extends MemorySystem {
    protected override orphan(instance: string, why: 'died' | 'left'): void {
      const waiting = this.of(`${instance}~wait`);
      super.orphan(instance, why);
      waiting.forEach((entry) => (entry.consumer = `${instance}~wait`));
    }
  },
  'that drops what a consumer has pending when it removes it': class extends MemorySystem {
    protected override mayRemove = () => true;
  },
  'that loses what ran alone when its instance died': class extends MemorySystem {
    protected override orphan(instance: string, why: 'died' | 'left'): void {
      super.orphan(instance, why);
      this.pending = this.pending.filter(({ consumer }) => consumer !== '~suspect');
    }
  },
  'that counts a handover as a death': class extends MemorySystem {
    protected override orphan(instance: string): void {
      super.orphan(instance, 'died');
    }
  },
  'that raises the count when an entry begins to wait': class extends MemorySystem {
    override retry = (held: Held) => Promise.resolve(this.claim(held, `${held.instance}~wait`, 1));
  },
  'that does not raise the count when a retry starts': class extends MemorySystem {
    override startDue = (held: Held) => Promise.resolve(this.claim(held, held.instance, 0));
  },
  'that takes an entry out of the hands of its new owner': class extends MemorySystem {
    protected override find({ id }: Held) {
      return this.pending.find((entry) => entry.id === id);
    }
  },
  'that makes a dead letter and keeps the entry': class extends MemorySystem {
    override deadLetter(held: Held): Promise<boolean> {
      const entry = this.find(held);
      if (entry) {
        this.dead.push(held.id);
      }
      return Promise.resolve(entry !== undefined);
    }
  },
  'that makes two dead letters of one': class extends MemorySystem {
    override async deadLetter(held: Held): Promise<boolean> {
      const isDone = await super.deadLetter(held);
      if (isDone) {
        this.dead.push(held.id);
      }
      return isDone;
    }
  },
  'that trims up to the last entry read, pending or not': class extends MemorySystem {
    override async trim(): Promise<void> {
      const { lastDelivered } = await this.snapshot();
      this.stream = this.stream.slice(this.stream.indexOf(lastDelivered) + 1);
    }
  },
  'that does not trim': class extends MemorySystem {
    override trim = () => Promise.resolve();
  },
  'that never has an orphan run alone': class extends MemorySystem {
    protected override orphan(instance: string, why: 'died' | 'left'): void {
      const running = this.of(instance);
      super.orphan(instance, why);
      running.forEach((entry) => (entry.consumer = '~'));
    }
  },
  'that adds an entry twice': class extends MemorySystem {
    override async publish(): Promise<string> {
      await super.publish();
      return super.publish();
    }
  },
  'that forgets its dead letters': class extends MemorySystem {
    override async snapshot(): Promise<StreamSnapshot> {
      return { ...(await super.snapshot()), dead: [] };
    }
  },
};

test('published = new + acknowledged + dead + pending, whatever happens in which order', async () => {
  await run(() => new MemorySystem(), 200);
});

describe('the account does not add up with a system', () => {
  test.each(Object.entries(faulty))('%s', async (_, Faulty) => {
    const failure: unknown = await run(() => new Faulty(), 1_000).catch((error: unknown) => error);
    expect((failure as Error | undefined)?.cause).toMatchObject({
      message: expect.stringMatching(/^The account does not add up|, and should be |^After a trim/),
    });
  });
});
