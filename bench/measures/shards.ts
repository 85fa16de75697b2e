import type { DeploymentPlan } from '../deployment.js';
import { chosenOf } from './able.js';
import { alternate, type Sampler } from './alternate.js';
import { OURS, type Measure } from './measure.js';
import { requestSampler } from './samples.js';

const SHARDS = [1, 2, 4];
const IN_FLIGHT = [1, 128];

/** Where the shards lie. */
interface Place {
  name: string;
  plan: DeploymentPlan;
}
const ONE: Place = { name: 'one Redis', plan: {} };
const CLUSTER: Place = { name: 'a cluster of 3', plan: { isCluster: true } };
const PLACES = [ONE, CLUSTER];

const settingOf = ({ name }: Place, shards: number, inFlight: number): string =>
  `${name}, ${shards} shard${shards === 1 ? '' : 's'}, ${inFlight} in flight`;

/** What it costs that one client and one server spread their requests over several shards, of one Redis or of a cluster. */
export const shards: Measure = {
  title: 'Shards on one Redis and on a cluster, by process',
  counted: 'request',
  isQuick: false,
  async run(session, results) {
    const { seconds } = session.options;
    const samplers = (place: Place, count: number): Sampler[] =>
      IN_FLIGHT.map((inFlight) => requestSampler(settingOf(place, count, inFlight), { inFlight, seconds }));
    await alternate(
      session,
      results,
      chosenOf(session, OURS).flatMap((system) =>
        PLACES.flatMap((place) =>
          SHARDS.map((count) => ({
            system,
            plan: { ...place.plan, shards: count, warmsUpSingle: true },
            samplers: samplers(place, count),
          })),
        ),
      ),
    );
  },
  comparisons: PLACES.flatMap((place) =>
    SHARDS.flatMap((count) =>
      IN_FLIGHT.flatMap((inFlight) =>
        (['cpu', 'cpuClient', 'cpuServer', 'cpuBroker', 'rate'] as const).map((figure) => ({
          figure,
          of: { system: OURS, setting: settingOf(place, count, inFlight) },
          against: [{ system: OURS, setting: settingOf(ONE, 1, inFlight) }],
        })),
      ),
    ),
  ).filter(({ of, against }) => of.setting !== against[0]!.setting),
};
