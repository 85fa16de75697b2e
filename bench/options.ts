import { parseArgs } from 'node:util';
import { MEASURE_NAMES, MEASURES, type MeasureName } from './measures/catalogue.js';
import { SYSTEM_NAMES, SYSTEMS, type SystemName } from './systems/catalogue.js';

const GROUPS = ['nats', 'rmq', 'peers'] as const;
type Group = (typeof GROUPS)[number];
const IOREDIS = ['5', '6'] as const;
type Ioredis = (typeof IOREDIS)[number];

/** What a run is to do. */
export interface BenchOptions {
  isQuick: boolean;
  measures: readonly MeasureName[];
  systems: readonly SystemName[];
  rounds: number;
  seconds: number;
  /** The major version of ioredis that servers and clients run on. */
  ioredis: Ioredis;
  /** Files to write. */
  json: string | undefined;
  svg: string | undefined;
  /** Compares with the package as it was at this commit, and does nothing else. */
  compare: string | undefined;
}

/** An option that cannot be used: the message is for whoever gave it. */
export class OptionError extends Error {}

/** A run is for a look, a comparison for small differences. */
const DEFAULTS = {
  run: { rounds: 3, seconds: 2 },
  quick: { rounds: 3, seconds: 0.5 },
  compare: { rounds: 20, seconds: 2 },
};

export const HELP = `usage: npm run bench -- [options]

  --quick              a look at the main figures, in about a minute
  --only a,b           these measures: ${MEASURE_NAMES.join(', ')}
  --systems a,b        these systems: ${SYSTEM_NAMES.join(', ')}
  --with a,b           besides the usual systems: ${GROUPS.join(', ')}; installs the packages they need
  --cluster            the same as --only shards: on one Redis and on a cluster of its own
  --ioredis 5          everything on ioredis 5, which it installs; otherwise on the one that is there
  --rounds n           rounds of each measure (${DEFAULTS.run.rounds}; ${DEFAULTS.compare.rounds} with --compare)
  --seconds n          seconds of each sample (${DEFAULTS.run.seconds}; ${DEFAULTS.quick.seconds} with --quick)
  --json file          writes all figures
  --svg file           writes a chart of the requests; installs the library that draws it
  --compare ref        this package as it is and as it was at a commit, in alternating rounds; goes with
                       --rounds, --seconds and --json
  --help               this text
`;

/** Throws an `OptionError` for options that cannot be used; `undefined` where help was asked for. */
export function parseOptions(args: readonly string[]): BenchOptions | undefined {
  const values = parse(args);
  if (values.help) {
    return undefined;
  }
  const { quick = false, compare } = values;
  if (compare !== undefined) {
    const excluded = (['quick', 'only', 'systems', 'with', 'svg'] as const).find(
      (name) => values[name] !== undefined,
    );
    if (excluded) {
      throw new OptionError(`--${excluded} does not go with --compare`);
    }
  }
  const defaults = compare === undefined ? (quick ? DEFAULTS.quick : DEFAULTS.run) : DEFAULTS.compare;
  const rounds = positive('rounds', values.rounds) ?? defaults.rounds;
  if (!Number.isInteger(rounds)) {
    throw new OptionError(`--rounds takes a whole number, not '${values.rounds}'`);
  }
  const measures =
    list('only', values.only ?? (values.cluster ? 'shards' : undefined), MEASURE_NAMES) ??
    MEASURE_NAMES.filter((name) => !quick || MEASURES[name].isQuick);
  if (values.svg !== undefined && !measures.includes('requests')) {
    throw new OptionError("--svg draws the measure 'requests', which --only leaves out");
  }
  return {
    isQuick: quick,
    measures,
    systems: chooseSystems(values.systems, values.with),
    ioredis: chooseIoredis(values.ioredis),
    rounds,
    seconds: positive('seconds', values.seconds) ?? defaults.seconds,
    json: values.json,
    svg: values.svg,
    compare,
  };
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: flag,
        only: text,
        systems: text,
        with: text,
        cluster: flag,
        ioredis: text,
        rounds: text,
        seconds: text,
        json: text,
        svg: text,
        compare: text,
        help: flag,
      },
    }).values;
  } catch (error) {
    throw new OptionError(error instanceof Error ? error.message : String(error));
  }
}

function chooseIoredis(value = '6'): Ioredis {
  const known = IOREDIS.find((version) => version === value);
  if (known === undefined) {
    throw new OptionError(`--ioredis takes ${IOREDIS.join(' or ')}, not '${value}'`);
  }
  return known;
}

/** Those that are named, else those that belong to no group; and those of the groups. In the catalogue's order. */
function chooseSystems(named: string | undefined, groups: string | undefined): readonly SystemName[] {
  const names = list('systems', named, SYSTEM_NAMES);
  const chosenGroups: readonly Group[] = list('with', groups, GROUPS) ?? [];
  return SYSTEM_NAMES.filter((name) => {
    const { group } = SYSTEMS[name];
    const isUsual = names ? names.includes(name) : group === undefined;
    return isUsual || (group !== undefined && chosenGroups.includes(group));
  });
}

function list<T extends string>(
  option: string,
  value: string | undefined,
  known: readonly T[],
): readonly T[] | undefined {
  if (value === undefined) {
    return undefined;
  }
  const names = value.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !known.includes(name as T));
  if (unknown !== undefined) {
    throw new OptionError(`--${option} knows no '${unknown}', but ${known.join(', ')}`);
  }
  return known.filter((name) => names.includes(name));
}

function positive(option: string, value: string | undefined): number | undefined {
  const number = value === undefined ? undefined : Number(value);
  if (number !== undefined && !(number > 0 && number < Infinity)) {
    throw new OptionError(`--${option} takes a number above 0, not '${value}'`);
  }
  return number;
}
