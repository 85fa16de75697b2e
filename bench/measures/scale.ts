import { ableTo } from './able.js';
import { alternate } from './alternate.js';
import { OURS, type Measure } from './measure.js';
import { requestSampler } from './samples.js';

const IN_FLIGHT = 128;
const SERVERS = [1, 2, 4];
const settingOf = (servers: number): string => `${servers} server${servers === 1 ? '' : 's'}`;

/** Several server processes behind one client. */
export const scale: Measure = {
  title: `Server processes, ${IN_FLIGHT} requests in flight`,
  counted: 'request',
  isQuick: false,
  async run(session, results) {
    const order = { inFlight: IN_FLIGHT, seconds: session.options.seconds };
    const systems = ableTo('several servers', session, results, 'several servers');
    await alternate(
      session,
      results,
      systems.flatMap((system) =>
        SERVERS.map((servers) => ({
          system,
          plan: { servers },
          samplers: [requestSampler(settingOf(servers), order)],
        })),
      ),
    );
  },
  comparisons: SERVERS.slice(1).flatMap((servers) =>
    (['cpu', 'rate'] as const).map((figure) => ({
      figure,
      of: { system: OURS, setting: settingOf(servers) },
      against: [{ system: OURS, setting: settingOf(1) }],
    })),
  ),
};
