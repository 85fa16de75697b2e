import type { Deployment } from '../deployment.js';
import type { FigureName } from '../figures.js';
import { reasonOf, type Comparison, type Figures, type Results } from '../results.js';
import type { Session } from '../session.js';
import type { SystemName } from '../systems/catalogue.js';
import { OURS, type Measure } from './measure.js';

const IN_FLIGHT = 128;
/** So that what is made once is there before it is counted. */
const WARM_UP = 20_000;
const HALF = 100_000;
const BEFORE = 'before';
const HALFWAY = 'after 100,000 requests';
const AFTER = 'after 200,000 requests';
const BYTES_PER_MIB = 1024 * 1024;

/** What is held after many requests: it may not grow with their number. */
export const memory: Measure = {
  title: 'Memory, after a garbage collection',
  counted: 'request',
  isQuick: false,
  async run(session, results) {
    for (const system of session.options.systems) {
      try {
        await observe(session, results, system);
      } catch (error) {
        results.miss({ system, setting: AFTER }, reasonOf(error));
      }
      session.say(`${system} done`);
    }
  },
  comparisons: (['clientHeap', 'serverHeap', 'brokerMemory'] as const).map(afterAgainstHalfway),
};

async function observe(session: Session, results: Results, system: SystemName): Promise<void> {
  const deployment = await session.deploy(system);
  await deployment.request({ inFlight: IN_FLIGHT, count: WARM_UP });
  results.add({ system, setting: BEFORE }, 0, await held(deployment));
  for (const setting of [HALFWAY, AFTER]) {
    await deployment.request({ inFlight: IN_FLIGHT, count: HALF });
    results.add({ system, setting }, 0, await held(deployment));
  }
  await session.drop(deployment);
}

async function held(deployment: Deployment): Promise<Figures> {
  const { client, server, broker } = await deployment.held();
  return {
    clientHeap: client / BYTES_PER_MIB,
    ...(server > 0 && { serverHeap: server / BYTES_PER_MIB }),
    ...(broker !== undefined && { brokerMemory: broker / BYTES_PER_MIB }),
  };
}

function afterAgainstHalfway(figure: FigureName): Comparison {
  return {
    figure,
    of: { system: OURS, setting: AFTER },
    against: [{ system: OURS, setting: HALFWAY }],
  };
}
