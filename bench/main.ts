import { fileURLToPath } from 'node:url';
import { Pair, type Figures } from './pair.js';
import { SYSTEMS, type System } from './systems.js';

/**
 * Requests per second and CPU time per request of this transport and of Nest's built-in Redis transport, in one run:
 * one client process, one server process and a Redis of its own for each, in alternating rounds.
 */

const ROUNDS = Number(process.argv[2] ?? 3);
const SECONDS = Number(process.argv[3] ?? 3);
const IN_FLIGHT = [1, 16, 128];

const pairs = new Map<System, Pair>();
const figures = new Map<string, Figures[]>();
try {
  for (const system of SYSTEMS) {
    pairs.set(system, await Pair.start(system, fileURLToPath(new URL('.', import.meta.url))));
  }
  for (const pair of pairs.values()) {
    await pair.measure({ inFlight: 128, seconds: 1 });
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const inFlight of IN_FLIGHT) {
      for (const system of round % 2 === 0 ? SYSTEMS : [...SYSTEMS].reverse()) {
        const key = `${system} ${inFlight}`;
        const found = await pairs.get(system)!.measure({ inFlight, seconds: SECONDS });
        figures.set(key, [...(figures.get(key) ?? []), found]);
      }
    }
  }
  print();
} finally {
  for (const pair of pairs.values()) {
    await pair.stop();
  }
}

function print(): void {
  const rows: Record<string, Record<string, string | number>> = {};
  for (const inFlight of IN_FLIGHT) {
    for (const system of SYSTEMS) {
      const all = figures.get(`${system} ${inFlight}`) ?? [];
      const base = figures.get(`nest-redis ${inFlight}`) ?? [];
      rows[`${system}, ${inFlight} in flight`] = {
        'requests/s': Math.round(median(all.map(({ perSecond }) => perSecond))),
        'CPU µs/request': round(median(all.map(({ cpu }) => cpu))),
        'commands/request': round(median(all.map(({ commands }) => commands))),
        'rate x nest-redis': round(median(all.map(({ perSecond }, i) => perSecond / base[i]!.perSecond))),
        'CPU x nest-redis': round(median(all.map(({ cpu }, i) => cpu / base[i]!.cpu))),
      };
    }
  }
  console.table(rows);
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
