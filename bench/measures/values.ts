import { ableTo } from './able.js';
import { alternate, type Sampler } from './alternate.js';
import { OURS, type Measure } from './measure.js';
import { costs } from './samples.js';

const VALUES = 1_000;
const IN_FLIGHT = 4;
const SETTING = `${IN_FLIGHT} Observables of ${VALUES.toLocaleString('en')} values at a time`;

/** An answer of many values. */
export const values: Measure = {
  title: 'Observables',
  counted: 'value',
  isQuick: false,
  async run(session, results) {
    const { seconds } = session.options;
    const sampler: Sampler = {
      setting: SETTING,
      take: async (deployment) => {
        const { result, used } = await deployment.request({ inFlight: IN_FLIGHT, seconds, values: VALUES });
        const count = result.requests * VALUES;
        return { rate: (count / result.elapsed) * 1000, ...costs(used, count) };
      },
    };
    await alternate(
      session,
      results,
      ableTo('values', session, results, SETTING).map((system) => ({ system, samplers: [sampler] })),
    );
  },
  comparisons: (['cpu', 'rate'] as const).map((figure) => ({
    figure,
    of: { system: OURS, setting: SETTING },
    against: [{ system: 'nest-redis', setting: SETTING }],
  })),
};
