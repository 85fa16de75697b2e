import type { Rates } from './load.js';
import type { Lane } from './plan.js';

/** Who takes part, and with what settings. */
export interface Cast {
  /** Instances of each of the two services. */
  instances: number;
  clients: number;
  /** What each client sends in a second. */
  rates: Rates;
  /** Milliseconds. */
  lease: number;
  /** Milliseconds that a request may take: more than a takeover takes, and a restart of Redis. */
  timeout: number;
  maxDeliveries: number;
  /** The share of events whose handlers fail at first, and of those whose handlers always fail. */
  failing: number;
  doomed: number;
  /** `user:password` with which the members connect. */
  login?: string;
  /** Further arguments of redis-server. */
  redis?: readonly string[];
}

/** What is done to whom, and what must be true of it beyond what must always be true. */
export interface Scenario {
  proves: string;
  lanes: readonly Lane[];
  cast?: Partial<Cast>;
  /** No message is handled twice, and nothing fails. */
  strict?: true;
  /** How long it takes at least to show something, in seconds. */
  seconds: number;
}

/** More than it takes to find a half-open connection, or a reply stream that is gone. */
const PATIENT: Partial<Cast> = { timeout: 15_000 };

const CAST: Cast = {
  instances: 2,
  clients: 2,
  rates: { asks: 100, counts: 10, events: 75 },
  lease: 1_000,
  timeout: 8_000,
  maxDeliveries: 5,
  failing: 0.02,
  doomed: 0.005,
};

/** 500 requests a second, and events whose handlers do not fail. */
const ROLLING: Partial<Cast> = { rates: { asks: 230, counts: 20, events: 25 }, failing: 0, doomed: 0 };

const ROLLING_LANE: Lane = { faults: ['restart server'], pause: [500, 1_500], inTurn: true };

/** Every scenario, by name. */
export const SCENARIOS = {
  'servers-killed': {
    proves: 'what a killed instance held is handled by another',
    lanes: [{ faults: ['kill server', 'lose server'], pause: [300, 1_500] }],
    cast: PATIENT,
    seconds: 15,
  },
  'clients-killed': {
    proves: 'a client that dies takes nothing with it, and leaves nothing behind',
    lanes: [{ faults: ['kill client'], pause: [300, 1_500] }],
    seconds: 12,
  },
  'processes-killed': {
    proves: 'killed instances and killed clients beside each other lose nothing',
    lanes: [
      { faults: ['kill server'], pause: [300, 1_500] },
      { faults: ['kill client'], pause: [2_000, 4_000] },
    ],
    seconds: 12,
  },
  'redis-killed': {
    proves: 'what Redis has confirmed survives its SIGKILL, by the append-only file',
    lanes: [{ faults: ['kill redis'], pause: [1_500, 3_000] }],
    seconds: 15,
  },
  partitions: {
    proves: 'an instance that is cut off for longer than its lease is taken over, and comes back',
    lanes: [{ faults: ['partition server', 'partition server', 'partition client'], pause: [500, 2_000] }],
    seconds: 15,
  },
  stopped: {
    proves: 'an instance that stands still for longer than its lease is fenced, one for less is not',
    lanes: [{ faults: ['stop server', 'stop server briefly', 'stop client'], pause: [500, 1_500] }],
    seconds: 15,
  },
  'standing-still': {
    proves: 'an instance that is cut off or stands still is taken over after its lease, and never before',
    lanes: [
      { faults: ['partition server', 'stop server briefly', 'stop server'], pause: [500, 1_000] },
      { faults: ['stop client', 'partition client'], pause: [1_000, 3_000] },
    ],
    seconds: 14,
  },
  connections: {
    proves: 'lost, silent and slow connections lose nothing',
    lanes: [
      { faults: ['reset server', 'reset client', 'latency', 'CLIENT KILL'], pause: [300, 1_500] },
      { faults: ['half-open server'], pause: [300, 1_000] },
      { faults: ['half-open client'], pause: [300, 1_000] },
    ],
    cast: PATIENT,
    seconds: 25,
  },
  'redis-refuses': {
    proves: 'a Redis that is full, read-only, paused or stalled loses nothing, and makes nobody look dead',
    lanes: [{ faults: ['CLIENT PAUSE', 'out of memory', 'read only', 'stall redis'], pause: [1_000, 2_000] }],
    seconds: 20,
  },
  'groups-vanish': {
    proves: 'a destroyed group is made again where it was',
    lanes: [{ faults: ['XGROUP DESTROY'], pause: [500, 2_000] }],
    seconds: 12,
  },
  'streams-vanish': {
    proves: 'after FLUSHALL, DEL or an empty restart everything heals, and nothing later is lost',
    lanes: [{ faults: ['DEL', 'FLUSHALL', 'restart redis empty'], pause: [2_000, 4_000] }],
    cast: PATIENT,
    seconds: 15,
  },
  poison: {
    proves: 'an event that kills its process becomes a dead letter, and its neighbours do not',
    lanes: [{ faults: ['poison'], pause: [500, 1_000] }],
    // The dead letter that is waited for is the poison's.
    cast: { failing: 0, doomed: 0 },
    seconds: 15,
  },
  rolling: {
    proves: 'a rolling restart under 500 requests a second loses none, answers all and runs none twice',
    lanes: [ROLLING_LANE],
    cast: ROLLING,
    strict: true,
    seconds: 15,
  },
  'rolling-without-unblock': {
    proves: 'so it does without the right to CLIENT UNBLOCK',
    lanes: [ROLLING_LANE],
    cast: {
      ...ROLLING,
      login: 'app:secret',
      redis: ['--user', 'app', 'on', '>secret', '~*', '&*', '+@all', '-client'],
    },
    strict: true,
    seconds: 25,
  },
  everything: {
    proves: 'all of it at once',
    lanes: [
      {
        faults: [
          'kill server',
          'restart server',
          'stop server',
          'partition server',
          'kill client',
          'reset client',
        ],
        pause: [500, 2_000],
      },
      {
        faults: [
          'kill redis',
          'CLIENT KILL',
          'CLIENT PAUSE',
          'out of memory',
          'stall redis',
          'XGROUP DESTROY',
        ],
        pause: [2_000, 6_000],
      },
    ],
    cast: { instances: 3 },
    seconds: 30,
  },
} satisfies Record<string, Scenario>;

/** The name of a scenario. */
export type ScenarioName = keyof typeof SCENARIOS;

/** Who takes part in a scenario. */
export function castOf(scenario: Scenario): Cast {
  return { ...CAST, ...scenario.cast };
}
