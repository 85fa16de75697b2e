/** What the figures are called in tables, and their digits; `$` stands for what a measure counts. */
export const FIGURES = {
  rate: { title: '$s/s', digits: 0 },
  p50: { title: 'p50 ms', digits: 2 },
  p95: { title: 'p95 ms', digits: 2 },
  p99: { title: 'p99 ms', digits: 2 },
  published: { title: 'published/s', digits: 0 },
  handled: { title: 'handled/s', digits: 0 },
  cpu: { title: 'CPU µs/$', digits: 1 },
  cpuClient: { title: 'client µs', digits: 1 },
  cpuServer: { title: 'server µs', digits: 1 },
  cpuBroker: { title: 'broker µs', digits: 1 },
  cpuBusiest: { title: 'busiest node µs', digits: 1 },
  commands: { title: 'commands/$', digits: 2 },
  idleCommands: { title: 'commands/s', digits: 2 },
  idleCpu: { title: 'CPU ms/s', digits: 2 },
  clientHeap: { title: 'client heap MiB', digits: 1 },
  serverHeap: { title: 'server heap MiB', digits: 1 },
  bytesStored: { title: 'bytes/$', digits: 0 },
  bytesPending: { title: 'more while pending', digits: 0 },
  brokerMemory: { title: 'Redis MiB', digits: 2 },
} as const;

export type FigureName = keyof typeof FIGURES;

/** A figure's heading in a table of what is counted: `request`, `event`, `value`. */
export function titleOf(figure: FigureName, counted: string): string {
  return FIGURES[figure].title.replace('$', counted);
}
