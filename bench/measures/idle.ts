import { reasonOf, type Figures } from '../results.js';
import type { Session } from '../session.js';
import type { SystemName } from '../systems/catalogue.js';
import { chosenOf } from './able.js';
import { OURS, type Measure } from './measure.js';

/** Registering, first looks and the checks after a connect are over by then. */
const SETTLED_AFTER_SECONDS = 12;
const SECONDS = 20;
const QUICK_SECONDS = 5;
const PLAIN = 'no events';
const MANY_TOPICS = '200 patterns';

/** What a client and a server do while nobody asks them for anything. */
export const idle: Measure = {
  title: 'Idle, a client and a server together',
  counted: 'request',
  isQuick: true,
  async run(session, results) {
    const pairs = [
      ...session.options.systems.map((system) => ({ system, setting: PLAIN, topics: 0 })),
      ...chosenOf(session, OURS, 'nest-redis').map((system) => ({
        system,
        setting: MANY_TOPICS,
        topics: 200,
      })),
    ];
    // All at once: what is counted does not depend on what else runs.
    const found = await Promise.allSettled(
      pairs.map(({ system, topics }) => observe(session, system, topics)),
    );
    pairs.forEach((subject, i) => {
      const outcome = found[i]!;
      if (outcome.status === 'fulfilled') {
        results.add(subject, 0, outcome.value);
      } else {
        results.miss(subject, reasonOf(outcome.reason));
      }
    });
  },
};

async function observe(session: Session, system: SystemName, topics: number): Promise<Figures> {
  const seconds = session.options.isQuick ? QUICK_SECONDS : SECONDS;
  const deployment = await session.deploy(system, { topics });
  if (!session.options.isQuick) {
    await deployment.idle(SETTLED_AFTER_SECONDS * 1000);
  }
  const { client, server, broker, commands } = await deployment.idle(seconds * 1000);
  await session.drop(deployment);
  return {
    ...(commands !== undefined && { idleCommands: commands / seconds }),
    ...(broker !== undefined && { idleCpu: (client + server + broker) / 1000 / seconds }),
  };
}
