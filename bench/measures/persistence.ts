import { SYSTEMS } from '../systems/catalogue.js';
import { alternate } from './alternate.js';
import { OURS, type Measure } from './measure.js';
import { requestSampler } from './samples.js';

const IN_FLIGHT = 128;
const WITHOUT = 'in memory';
const WITH = 'append-only file';

/** What it costs that Redis writes what it stores to disk, every second. */
export const persistence: Measure = {
  title: `Append-only file, ${IN_FLIGHT} requests in flight`,
  counted: 'request',
  isQuick: false,
  async run(session, results) {
    const { systems, seconds } = session.options;
    const order = { inFlight: IN_FLIGHT, seconds };
    await alternate(
      session,
      results,
      systems
        .filter((system) => SYSTEMS[system].broker === 'redis')
        .flatMap((system) => [
          { system, samplers: [requestSampler(WITHOUT, order)] },
          { system, plan: { isPersistent: true }, samplers: [requestSampler(WITH, order)] },
        ]),
    );
  },
  comparisons: (['cpu', 'cpuBroker', 'rate'] as const).map((figure) => ({
    figure,
    of: { system: OURS, setting: WITH },
    against: [{ system: OURS, setting: WITHOUT }],
  })),
};
