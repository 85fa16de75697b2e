import type { FigureName } from '../figures.js';
import type { Comparison } from '../results.js';
import { alternate } from './alternate.js';
import { OURS, type Measure } from './measure.js';
import { requestSampler } from './samples.js';

const IN_FLIGHT = [1, 16, 128, 1024];
const QUICK_IN_FLIGHT = [1, 16, 128];

/** Requests/s, latencies, CPU time and Redis commands by the number of requests in flight. */
export const requests: Measure = {
  title: 'Requests',
  counted: 'request',
  isQuick: true,
  run(session, results) {
    const { isQuick, seconds, systems } = session.options;
    const samplers = (isQuick ? QUICK_IN_FLIGHT : IN_FLIGHT).map((inFlight) =>
      requestSampler(settingOf(inFlight), { inFlight, seconds }),
    );
    return alternate(
      session,
      results,
      systems.map((system) => ({ system, plan: { warmsUpSingle: true }, samplers })),
    );
  },
  comparisons: [
    ...[1, 16, 128].flatMap((inFlight) =>
      (['cpu', 'rate', 'p50'] as const).map((figure) => against(figure, inFlight, 'nest-redis')),
    ),
    against('cpu', 128, 'nest-tcp'),
    against('rate', 128, 'nest-tcp'),
    against('cpu', 128, 'ping-pong', 'nest-no-io'),
  ],
};

function settingOf(inFlight: number): string {
  return `${inFlight} in flight`;
}

function against(
  figure: FigureName,
  inFlight: number,
  ...others: readonly ('nest-redis' | 'nest-tcp' | 'ping-pong' | 'nest-no-io')[]
): Comparison {
  const setting = settingOf(inFlight);
  return {
    figure,
    of: { system: OURS, setting },
    against: others.map((system) => ({ system, setting })),
  };
}
