import type { DeploymentPlan } from '../deployment.js';
import type { Comparison } from '../results.js';
import type { Session } from '../session.js';
import { chosenOf } from './able.js';
import { alternate, type Contestant } from './alternate.js';
import { manyRounds, OURS, type Measure } from './measure.js';
import { requestSampler } from './samples.js';

/*
 * What requests to this package cost when something else is different, each beside the same without it: what shares
 * the service or the Redis with them, and what options and listeners switch on.
 */

const IN_FLIGHT = 128;
const PLAIN = 'nothing else';

const NEIGHBOURS: Record<string, DeploymentPlan> = {
  '200 event patterns': { topics: 200 },
  '10 services on this Redis': { bystanders: Array.from({ length: 9 }, (_, i) => `other-${i}`) },
  '20 idle instances on this Redis': { bystanders: Array.from({ length: 20 }, () => 'other') },
};

const SWITCHES: Record<string, DeploymentPlan> = {
  'lease: 1,000': { variant: { lease: 1_000 } },
  'hooks: read and handled listened to': { variant: { hooks: true } },
  '@Ctx(), and its signal asked for': { variant: { signal: true } },
  "acknowledge: 'on-receipt'": { variant: { acknowledge: 'on-receipt' } },
};

const TUNINGS: Record<string, DeploymentPlan> = {
  'concurrency: 8': { variant: { concurrency: 8 } },
  'concurrency: 32': { variant: { concurrency: 32 } },
  'concurrency: 1,000': { variant: { concurrency: 1_000 } },
};

export const neighbours = besidePlain('What else is there', NEIGHBOURS);
export const switches = besidePlain('What is switched on', SWITCHES);
export const tuning = besidePlain('What the option concurrency does', TUNINGS);

/** The same and the systems that matter most, in so many rounds that small differences show. */
export const overhead: Measure = {
  title: `Requests, small differences, ${IN_FLIGHT} in flight`,
  counted: 'request',
  isQuick: false,
  async run(session, results) {
    const others = chosenOf(session, 'nest-redis', 'nest-tcp', 'ping-pong', 'nest-no-io');
    const contestants = [
      ...contestantsOf(session, { ...NEIGHBOURS, ...SWITCHES }),
      ...others.map((system) => contestant(session, system, PLAIN, {})),
    ];
    await alternate(session, results, contestants, manyRounds(session));
  },
  comparisons: [
    ...(['cpu', 'rate', 'p50'] as const).map((figure) => ({
      figure,
      of: { system: OURS, setting: PLAIN },
      against: [{ system: 'nest-redis' as const, setting: PLAIN }],
    })),
    {
      figure: 'cpu',
      of: { system: OURS, setting: PLAIN },
      against: [{ system: 'nest-tcp', setting: PLAIN }],
    },
    {
      figure: 'cpu',
      of: { system: OURS, setting: PLAIN },
      against: [
        { system: 'ping-pong', setting: PLAIN },
        { system: 'nest-no-io', setting: PLAIN },
      ],
    },
    ...againstPlain({ ...NEIGHBOURS, ...SWITCHES }),
  ],
};

function besidePlain(title: string, plans: Record<string, DeploymentPlan>): Measure {
  return {
    title: `${title}, ${IN_FLIGHT} requests in flight`,
    counted: 'request',
    isQuick: false,
    run: (session, results) => alternate(session, results, contestantsOf(session, plans)),
    comparisons: [...againstPlain(plans), ...againstPlain(plans, 'rate')],
  };
}

function contestantsOf(session: Session, plans: Record<string, DeploymentPlan>): Contestant[] {
  const all = Object.entries({ [PLAIN]: {}, ...plans });
  return chosenOf(session, OURS).flatMap((system) =>
    all.map(([setting, plan]) => contestant(session, system, setting, plan)),
  );
}

function contestant(
  { options }: Session,
  system: Contestant['system'],
  setting: string,
  plan: DeploymentPlan,
): Contestant {
  const order = { inFlight: IN_FLIGHT, seconds: options.seconds };
  return { system, plan, samplers: [requestSampler(setting, order)] };
}

function againstPlain(
  plans: Record<string, DeploymentPlan>,
  figure: Comparison['figure'] = 'cpu',
): Comparison[] {
  return Object.keys(plans).map((setting) => ({
    figure,
    of: { system: OURS, setting },
    against: [{ system: OURS, setting: PLAIN }],
  }));
}
