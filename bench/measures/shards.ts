import type { DeploymentPlan } from '../deployment.js';
import { chosenOf } from './able.js';
import { alternate, type Sampler } from './alternate.js';
import { OURS, type Measure } from './measure.js';
import { requestSampler } from './samples.js';

const SHARDS = [1, 2, 4];
const IN_FLIGHT = [1, 128];
const settingOf = (shards: number, inFlight: number): string =>
  `${shards} shard${shards === 1 ? '' : 's'}, ${inFlight} in flight`;

/** What it costs that one client and one server spread their requests over several shards of one Redis. */
export const shards: Measure = {
  title: 'Shards on one Redis, by process',
  counted: 'request',
  isQuick: false,
  async run(session, results) {
    const { seconds } = session.options;
    const samplers = (count: number): Sampler[] =>
      IN_FLIGHT.map((inFlight) => requestSampler(settingOf(count, inFlight), { inFlight, seconds }));
    const planOf = (count: number): DeploymentPlan => ({ shards: count, warmsUpSingle: true });
    await alternate(
      session,
      results,
      chosenOf(session, OURS).flatMap((system) =>
        SHARDS.map((count) => ({ system, plan: planOf(count), samplers: samplers(count) })),
      ),
    );
  },
  comparisons: SHARDS.slice(1).flatMap((count) =>
    IN_FLIGHT.flatMap((inFlight) =>
      (['cpu', 'cpuClient', 'cpuServer', 'cpuBroker', 'rate'] as const).map((figure) => ({
        figure,
        of: { system: OURS, setting: settingOf(count, inFlight) },
        against: [{ system: OURS, setting: settingOf(1, inFlight) }],
      })),
    ),
  ),
};
