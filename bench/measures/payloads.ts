import { alternate } from './alternate.js';
import { OURS, type Measure } from './measure.js';
import { requestSampler } from './samples.js';

/** Large ones with fewer in flight, so that what is on its way fits into sockets and memory. */
const PAYLOADS = [
  { setting: '100 B, 16 in flight', payload: 100, inFlight: 16 },
  { setting: '10 kB, 16 in flight', payload: 10_000, inFlight: 16 },
  { setting: '1 MB, 4 in flight', payload: 1_000_000, inFlight: 4 },
];

/** A text there and back. */
export const payloads: Measure = {
  title: 'Payloads, there and back',
  counted: 'request',
  isQuick: false,
  run(session, results) {
    const { systems, seconds } = session.options;
    const samplers = PAYLOADS.map(({ setting, ...order }) => requestSampler(setting, { ...order, seconds }));
    return alternate(
      session,
      results,
      systems.map((system) => ({ system, samplers })),
    );
  },
  comparisons: PAYLOADS.flatMap(({ setting }) =>
    (['cpu', 'rate'] as const).map((figure) => ({
      figure,
      of: { system: OURS, setting },
      against: [{ system: 'nest-redis' as const, setting }],
    })),
  ),
};
