import { RedisCluster } from '../../support/redis-cluster.js';
import { table } from '../table.js';
import { DEATHS, killOnce, REMEDIES, type Death, type Remedy, type Toll } from './experiment.js';

const HEADS = [
  'how the master dies',
  'against it',
  'kills',
  'confirmed',
  'gone',
  'in kills',
  'at worst',
  'from',
  'events/s',
  'not confirmed',
];

/** Runs the experiment, each case so many times, and gives its table. */
export async function measureFailovers(kills: number, say: (text: string) => void): Promise<string> {
  const rows: string[][] = [HEADS];
  const cluster = await RedisCluster.start();
  try {
    for (const death of Object.keys(DEATHS) as Death[]) {
      for (const remedy of Object.keys(REMEDIES) as Remedy[]) {
        const tolls: Toll[] = [];
        for (let i = 0; i < kills; i++) {
          tolls.push(await killOnce(cluster, death, remedy));
        }
        rows.push([death, remedy, ...cells(tolls)]);
        say(table([HEADS, rows.at(-1)!]));
      }
    }
  } finally {
    await cluster.stop();
  }
  return table(rows);
}

function cells(tolls: readonly Toll[]): string[] {
  const sum = (of: (toll: Toll) => number): number => tolls.reduce((all, toll) => all + of(toll), 0);
  const failures = new Map<string, number>();
  for (const [failure, count] of tolls.flatMap((toll) => [...toll.failures])) {
    failures.set(failure, (failures.get(failure) ?? 0) + count);
  }
  return [
    String(tolls.length),
    String(sum(({ confirmed }) => confirmed)),
    String(sum(({ gone }) => gone)),
    String(tolls.filter(({ gone }) => gone > 0).length),
    String(Math.max(...tolls.map(({ gone }) => gone))),
    `${Math.max(...tolls.map(({ from }) => from)).toFixed(0)} ms`,
    (sum(({ rate }) => rate) / tolls.length).toFixed(0),
    [...failures].map(([failure, count]) => `${failure} ${count}`).join(', ') || '-',
  ];
}
